#!/usr/bin/env bash
#SBATCH --job-name=automl
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
# One search over the nodes of a job: sbatch examples/slurm.sh DATASET [OPTIONS of automl search]
# The home folder must lie where every node sees it.
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --nodes=1 --ntasks=1 -w "$head" ray start --head --port=6379 --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 20
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address="$head:6379" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
    sleep 20
fi
exec automl search "$@" --executor ray --ray-address "$head:6379"
