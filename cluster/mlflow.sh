#!/usr/bin/env bash
# MLflow's server as a service of this machine: database in the folder $1, artifacts at $2 (a folder or s3://…), on
# the private address only. It is started again when it ends, and when it no longer answers. Run again, it restarts.
set -euo pipefail
folder=$1 artifacts=$2
python=$(command -v python)
address=$(hostname -I | cut -d' ' -f1)
port=5000
sudo mkdir -p "$folder"
sudo chown "$USER" "$folder"

# --allowed-hosts replaces the default list: whoever comes through an SSH tunnel says 127.0.0.1, and a port of theirs
sudo tee /etc/systemd/system/study-mlflow.service >/dev/null <<UNIT
[Unit]
Description=MLflow of the study
RequiresMountsFor=$folder
StartLimitIntervalSec=0

[Service]
User=$USER
WorkingDirectory=$folder
Environment=MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
ExecStart=$python -m mlflow server --host $address --port $port --workers 1 \\
    --backend-store-uri sqlite:///$folder/mlflow.db --artifacts-destination $artifacts \\
    --allowed-hosts '$address:$port,127.0.0.1:*,localhost:*'
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT

sudo tee /etc/systemd/system/study-mlflow-health.service >/dev/null <<UNIT
[Unit]
Description=Restart MLflow of the study where it does not answer

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'curl -sf -o /dev/null --max-time 30 http://$address:$port/health || systemctl restart study-mlflow'
UNIT

sudo tee /etc/systemd/system/study-mlflow-health.timer >/dev/null <<UNIT
[Unit]
Description=Look after MLflow of the study

[Timer]
OnActiveSec=180
OnUnitActiveSec=60

[Install]
WantedBy=timers.target
UNIT

sudo systemctl daemon-reload
sudo systemctl enable --quiet study-mlflow.service study-mlflow-health.timer
sudo systemctl restart study-mlflow.service study-mlflow-health.timer
for _ in $(seq 120); do # the first start makes the database
    if curl -sf -o /dev/null --max-time 5 "http://$address:$port/health"; then
        echo "MLflow answers on http://$address:$port"
        exit 0
    fi
    sleep 1
done
echo "MLflow must answer on http://$address:$port within 120 s, but does not:" >&2
sudo journalctl -u study-mlflow -n 20 --no-pager >&2
exit 1
