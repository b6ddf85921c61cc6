# Sourced by train_local.sh and serve_local.sh: `docker run` as SageMaker does it.
#   DOCKER     the docker client (docker)
#   SHM_SIZE   the container's /dev/shm, which carries pictures between processes (2g)

# sagemaker_run OPTION… IMAGE COMMAND: GPUs where this machine has them; progress bars where a person is watching.
sagemaker_run() {
    if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus >/dev/null 2>&1; then
        set -- --gpus all "$@"
    fi
    if [ -t 0 ] && [ -t 1 ]; then
        set -- --interactive --tty "$@"
    fi
    exec "${DOCKER:-docker}" run --rm --shm-size "${SHM_SIZE:-2g}" "$@"
}
