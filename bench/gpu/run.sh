#!/bin/sh
# Works through a plan with several processes on one GPU: run.sh DATA PLAN OUT SECONDS [PROCESSES]
export CUDA_MPS_PIPE_DIRECTORY=/tmp/mps CUDA_MPS_LOG_DIRECTORY=/tmp/mps
nvidia-cuda-mps-control -d 2>/dev/null && echo "processes share the GPU by MPS"
for process in $(seq "${5:-6}"); do
    python3 "$(dirname "$0")/study.py" --data "$1" --plan "$2" --out "$3" --save "${3%.jsonl}.zeros" --seconds "$4" &
done
wait
