#!/usr/bin/env bash
# Attaches the kept EBS volume whose tag `study` is $1 to this instance and mounts it at $2. A volume hangs on one
# instance only, so a second head on the same study stops here. Run again, it changes nothing.
set -euo pipefail
name=$1 folder=$2
mountpoint -q "$folder" && exit 0

metadata=http://169.254.169.254/latest
token=$(curl -sf -X PUT "$metadata/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 300')
said() { curl -sf -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/$1"; }
instance=$(said instance-id) zone=$(said placement/availability-zone)
AWS_DEFAULT_REGION=$(said placement/region)
export AWS_DEFAULT_REGION

volume=$(aws ec2 describe-volumes --filters "Name=tag:study,Values=$name" "Name=availability-zone,Values=$zone" \
    "Name=status,Values=creating,available,in-use" \
    --query 'Volumes[].VolumeId' --output text)
if [ "$(wc -w <<<"$volume")" != 1 ]; then
    echo "One volume in $zone must have the tag study=$name, but there is: ${volume:-none}." >&2
    exit 1
fi
holder=$(aws ec2 describe-volumes --volume-ids "$volume" --query 'Volumes[0].Attachments[0].InstanceId' --output text)
if [ "$holder" != "$instance" ]; then # it may be here since a set-up that was cut off
    # the head before this one may still be going down
    if ! aws ec2 wait volume-available --volume-ids "$volume"; then
        echo "$volume must hang on no other instance, but does: terminate the other head first (\`ray down\`)." >&2
        exit 1
    fi
    aws ec2 attach-volume --volume-id "$volume" --instance-id "$instance" --device /dev/sdf >/dev/null
fi
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volume/-/}
for _ in $(seq 60); do
    [ -e "$device" ] && break
    sleep 1
done
if [ ! -e "$device" ]; then
    echo "$volume must appear as $device within a minute, but did not." >&2
    exit 1
fi
sudo blkid "$device" >/dev/null || sudo mkfs.ext4 -q "$device" # a new one; what holds a file system is never formatted
sudo mkdir -p "$folder"
line="UUID=$(sudo blkid -s UUID -o value "$device") $folder ext4 defaults,nofail 0 2"
grep -qxF "$line" /etc/fstab || echo "$line" | sudo tee -a /etc/fstab >/dev/null
sudo mount "$folder"
sudo chown "$USER" "$folder"
