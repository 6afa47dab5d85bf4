#!/usr/bin/env bash
# Closes the ports of the study on this machine to all but the machines named ($@, as addresses or networks), by a table
# of nftables that is the study's own: what else runs here keeps its ports. Run again, it replaces itself.
# Where there is systemd, it is there again after the machine was started anew. To open the ports:
# `sudo nft delete table inet study; sudo systemctl disable study-firewall`.
set -euo pipefail
# MLflow; Ray's GCS and what `ray start` is told below, its dashboard, client server, workers, and agents' and metrics' ports
ports="5000, 6379, 8076-8080, 8265, 10001-19999, 44217, 44227, 52365"
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
PATH=$PATH:/usr/sbin:/sbin
if ! command -v nft >/dev/null; then
    echo "nft must be there for the firewall of $(hostname) (Debian: nftables), but is not." >&2
    exit 1
fi
# only what comes in anew: the answers to what this machine asked may arrive at any port
rules=$(
    cat <<RULES
table inet study {}
delete table inet study
table inet study {
    chain input {
        type filter hook input priority filter; policy accept;
        iif lo accept
        ip saddr { 127.0.0.1$(printf ', %s' "$@") } accept
        tcp dport { $ports } tcp flags & (syn | ack) == syn reject with tcp reset
    }
}
RULES
)
$as_root nft -f - <<<"$rules"

# MLflow's service comes back with the machine, so these must, too
if [ -d /run/systemd/system ]; then
    $as_root tee /etc/study-firewall.nft >/dev/null <<<"$rules"
    $as_root tee /etc/systemd/system/study-firewall.service >/dev/null <<UNIT
[Unit]
Description=Closed ports of the study
Before=network-pre.target study-mlflow.service
Wants=network-pre.target
After=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$(command -v nft) -f /etc/study-firewall.nft

[Install]
WantedBy=multi-user.target
UNIT
    $as_root systemctl daemon-reload
    $as_root systemctl enable --quiet study-firewall.service
fi
