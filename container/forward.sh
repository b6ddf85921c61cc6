# Sourced by train and serve. Starts a program as a child and hands SIGTERM on to it, from this shell's first moment.
#
# The kernel ignores SIGTERM for a container's process 1 until that process handles it, and Python needs a while before
# it does: a stop within the first second would be lost. A shell handles signals at once, and a child dies of SIGTERM
# until it handles it. The shell also reaps the processes that others leave behind.

_byoc_child=
_byoc_stop=

_byoc_on_stop() {
    _byoc_stop=yes
    [ -z "$_byoc_child" ] || _byoc_hand_on
}
trap _byoc_on_stop TERM INT

# Until it runs its own program, a child is a copy of this shell, which may take the signal and drop it.
_byoc_hand_on() {
    while cmp -s "/proc/$$/cmdline" "/proc/$_byoc_child/cmdline"; do sleep 0.01; done
    kill -TERM "$_byoc_child" 2>/dev/null
}

# Runs the command until it ends, and exits with its status: 143 if it never started, or died of the signal.
forward_to() {
    [ -z "$_byoc_stop" ] || exit 143
    "$@" &
    _byoc_child=$!
    [ -z "$_byoc_stop" ] || _byoc_hand_on # it came between the two lines above
    _byoc_status=127
    while :; do
        _byoc_stop=
        wait "$_byoc_child"
        _byoc_waited=$?
        [ "$_byoc_waited" -eq 127 ] || _byoc_status=$_byoc_waited # 127: it has been waited for
        [ -n "$_byoc_stop" ] || exit "$_byoc_status"
    done
}
