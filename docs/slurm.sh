#!/usr/bin/env bash
#SBATCH --job-name=dehazing
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=2
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:INT@300
# Starts Ray on the nodes of the allocation and runs `python -m studies run` with what stands behind the script's name:
#   sbatch docs/slurm.sh all --scale cluster --storage /shared/study/results
# docs/slurm.md says what must be there. --exclusive, as two Rays on one node would want the same ports.
set -euo pipefail
set -m # else the driver, in the background, would never hear the SIGINT that Slurm sends before the time is up

# the first address of this node, the allocation's first; name another where the nodes do not share that network
address=${RAY_HEAD_ADDRESS:-$(hostname -I | cut -d' ' -f1)}
port=${RAY_HEAD_PORT:-6379}
head=${SLURMD_NODENAME:-$(hostname -s)}
num_nodes=$SLURM_JOB_NUM_NODES

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true
export RAY_AUTH_TOKEN_PATH=$HOME/.ray/token-$SLURM_JOB_ID # the home folder is every node's
mkdir -p "$HOME/.ray"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")

steps=()
end() {
    if [ ${#steps[@]} != 0 ]; then
        kill "${steps[@]}" 2>/dev/null || true
        wait "${steps[@]}" 2>/dev/null || true
    fi
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap end EXIT

# srun takes neither the tasks' CPUs nor the sharing of a node from the job
start() {
    local num=$1
    shift
    srun --overlap --nodes="$num" --ntasks="$num" --cpus-per-task="$SLURM_CPUS_PER_TASK" "$@" &
    steps+=($!)
}
ray=(ray start --block --num-cpus="$SLURM_CPUS_PER_TASK")
start 1 --nodelist="$head" "${ray[@]}" --head --node-ip-address="$address" --port="$port" \
    --dashboard-host=127.0.0.1 --temp-dir="/tmp/ray-$SLURM_JOB_ID"
export RAY_ADDRESS=$address:$port
if [ "$num_nodes" -gt 1 ]; then
    # a worker that comes before the head waits for it
    start $((num_nodes - 1)) --exclude="$head" "${ray[@]}" --address="$RAY_ADDRESS"
fi

python - "$num_nodes" <<'PYTHON'
import sys
import time

import ray

wanted, num, deadline_s = int(sys.argv[1]), 0, time.monotonic() + 300
while num < wanted and time.monotonic() < deadline_s:
    try:
        ray.init(ignore_reinit_error=True, logging_level="ERROR", log_to_driver=False)
        num = sum(node["Alive"] for node in ray.nodes())
    except ConnectionError:
        pass  # the head is not there yet
    time.sleep(2)
if num < wanted:
    sys.exit(f"Ray must run on {wanted} nodes, but after 300 s it does on {num}.")
print(f"Ray runs on {num} nodes: {ray.cluster_resources()}", flush=True)
PYTHON

python -m studies run "$@" &
driver=$!
trap 'kill -INT "$driver"' INT TERM
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do # the wait ended by the signal, and not with the driver
    code=0
    wait "$driver" || code=$?
done
exit "$code" # 0 fine, 1 trials failed, 2 a mistake in the command, 130 the time was up: submit it again
