# CUDA forward compatibility. Sourced by train and serve before Python starts, because the dynamic loader reads
# LD_LIBRARY_PATH only when a process starts.
#
# The wheels in the image use CUDA 13 and need driver 580. The compat library, a newer libcuda, lets them run on a
# data-centre GPU with an older driver. It is used only if it is needed: with a driver that is new enough it has no
# benefit, and GeForce cards refuse it (CUDA error 804).
# https://docs.nvidia.com/deploy/cuda-compatibility/
#
# The library is not in /usr/local/cuda/compat: NVIDIA's container toolkit (1.17.5 and newer) would take it from there
# for any driver that is older than it, also for a GeForce with a driver that is new enough.
#
#   BYOC_CUDA_COMPAT            auto (default); on: if the driver is older than the library; off: never
#   BYOC_CUDA_COMPAT_DIR        the folder of the compat library
#   BYOC_CUDA_MINIMUM_DRIVER    the oldest driver that runs the wheels without the library
#   BYOC_NVIDIA_VERSION_FILE    the file with the driver's version

# Prints the first argument that looks like a driver version: 535.183.01
_byoc_version_in() {
    for _byoc_word in "$@"; do
        case $_byoc_word in
            *[!0-9.]* | .* | *. | *..*) ;;
            *.*) echo "$_byoc_word" && return ;;
        esac
    done
    return 1
}

# Is version $1 older than version $2? Compares number by number: 550.9 is older than 550.10.
_byoc_older() {
    _byoc_left=$1.
    _byoc_right=$2.
    while [ -n "$_byoc_left$_byoc_right" ]; do
        _byoc_a=${_byoc_left%%.*}
        _byoc_b=${_byoc_right%%.*}
        [ "${_byoc_a:-0}" -lt "${_byoc_b:-0}" ] && return 0
        [ "${_byoc_a:-0}" -gt "${_byoc_b:-0}" ] && return 1
        _byoc_left=${_byoc_left#*.}
        _byoc_right=${_byoc_right#*.}
    done
    return 1
}

# Prints the folder to put first on LD_LIBRARY_PATH, or nothing. Runs in a subshell, so its variables stay local.
_byoc_compat_folder() (
    set -f # the words of the version file are not patterns
    version_file=${BYOC_NVIDIA_VERSION_FILE:-/proc/driver/nvidia/version}
    folder=${BYOC_CUDA_COMPAT_DIR:-/opt/byoc/cuda-compat}
    [ "${BYOC_CUDA_COMPAT:-auto}" != off ] && [ -r "$version_file" ] && [ -d "$folder" ] || return 0

    line=
    read -r line <"$version_file" || [ -n "$line" ] || return 0
    # shellcheck disable=SC2086 # split into words on purpose
    driver=$(_byoc_version_in $line) || {
        echo "cuda_compat: no driver version in $version_file: $line" >&2
        return 0
    }
    set +f
    for library in "$folder"/libcuda.so.*.*; do
        compat=$(_byoc_version_in "${library##*/libcuda.so.}") && break
    done
    [ -n "$compat" ] && _byoc_older "$driver" "$compat" || return 0
    [ "${BYOC_CUDA_COMPAT:-auto}" = on ] || _byoc_older "$driver" "${BYOC_CUDA_MINIMUM_DRIVER:-580}" || return 0

    echo "cuda_compat: driver $driver is too old for this image's CUDA: using the libcuda $compat in $folder" >&2
    echo "$folder"
)

_byoc_folder=$(_byoc_compat_folder)
if [ -n "$_byoc_folder" ]; then
    LD_LIBRARY_PATH=$_byoc_folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
fi
unset _byoc_folder
unset -f _byoc_version_in _byoc_older _byoc_compat_folder
