# Sourced by train_local.sh and serve_local.sh: calls `docker run` as SageMaker does.
#   DOCKER     the docker client (docker)
#   SHM_SIZE   the size of /dev/shm, which passes images between processes (2g)

# sagemaker_run OPTION… IMAGE COMMAND: with GPUs if this machine has them, and with progress bars in a terminal.
sagemaker_run() {
    if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus >/dev/null 2>&1; then
        set -- --gpus all "$@"
    fi
    if [ -t 0 ] && [ -t 1 ]; then
        set -- --interactive --tty "$@"
    fi
    exec "${DOCKER:-docker}" run --rm --shm-size "${SHM_SIZE:-2g}" "$@"
}
