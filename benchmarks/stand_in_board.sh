#!/bin/sh
# A board for benchmarks/farm_scale.py: answers the agent's commands, and plays recorded jobs instead of measuring.
# It stands where the inventory names a board's Python:
#     stand_in_board.sh AGENT --workspace FOLDER [--lease ID] COMMAND ...
#
# A shell, because 200 of them wait at once on one host: a follower is one sleeping process of 4 MB that starts no
# other. What is asked most needs no more than sh, which starts in half the time of bash. FOLDER/../tapes/ holds
# `probe` (the answer) and, by precision, `journal` (lines of "MILLISECONDS EVENT") and `result/`. A job begins when
# it is submitted, whether or not anybody follows it.
set -u
agent=$1 board=$3
shift 3
[ "$1" = --lease ] && shift 2
command=$1
shift
tapes=${board%/*}/tapes

# Nobody else wants this board.
case $command in
    lease) echo '{"state":"granted","type":"lease"}' && exit ;;
    release) echo '{"state":"released","type":"lease"}' && exit ;;
esac
if [ "$command" = get ]; then
    read -r _ precision < "$board/jobs/$1"
    offset=$2
    shift 2
    cd "$tapes/$precision/result" || exit 1
    [ "$offset" -eq 0 ] && exec cat "$@"
    tail -c "+$((offset + 1))" "$1"
    shift
    exec cat /dev/null "$@"
fi
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$agent" --workspace "$board" "$command" "$@"

export LC_ALL=C

milliseconds() {
    local now=${EPOCHREALTIME/./}
    echo_milliseconds=${now%???}
}

# Waits until a moment without starting a process: nobody ever writes to the board's `never`.
sleep_until() {
    milliseconds
    local rest=$(($1 - echo_milliseconds))
    ((rest > 0)) || return 0
    printf -v rest '%d.%03d' $((rest / 1000)) $((rest % 1000))
    read -r -t "$rest" -u 9
    return 0
}

probe() {
    if [ ! -e "$agent" ]; then
        echo "can't open file '$agent': [Errno 2] No such file or directory" >&2
        exit 2
    fi
    mkdir -p "$board/blobs" "$board/jobs"
    [ -p "$board/never" ] || mkfifo "$board/never"
    exec cat "$tapes/probe"
}

# Like the agent: the same job twice is the same job; a job whose blobs are not there is not taken.
submit() {
    local job rest missing="" known=""
    IFS= read -r job
    [[ $job =~ \"job_id\":\"([^\"]+)\" ]] && local id=${BASH_REMATCH[1]}
    [[ $job =~ \"precision\":\"([^\"]+)\" ]] && local precision=${BASH_REMATCH[1]}
    if [ -e "$board/jobs/$id" ]; then
        printf '{"job_id":"%s","missing":[],"state":"exists","type":"submitted"}\n' "$id"
        return
    fi
    rest=$job
    while [[ $rest =~ \"sha256\":\"([0-9a-f]{64})\" ]]; do
        rest=${rest#*"${BASH_REMATCH[0]}"}
        [[ $known == *"${BASH_REMATCH[1]}"* ]] && continue
        known+=" ${BASH_REMATCH[1]}"
        [ -e "$board/blobs/${BASH_REMATCH[1]}" ] || missing+=",\"${BASH_REMATCH[1]}\""
    done
    if [ -n "$missing" ]; then
        printf '{"job_id":"%s","missing":[%s],"state":"missing","type":"submitted"}\n' "$id" "${missing#,}"
        return
    fi
    milliseconds
    echo "$echo_milliseconds $precision" > "$board/jobs/$id"
    echo "$id" >> "$board/accepted"
    printf '{"job_id":"%s","missing":[],"state":"accepted","type":"submitted"}\n' "$id"
}

put() {
    echo '{"complete":false,"have":0,"type":"blob"}'
    head -c "$2" > "$board/blobs/$1.part" && mv "$board/blobs/$1.part" "$board/blobs/$1"
    printf '{"complete":true,"have":%d,"type":"blob"}\n' "$2"
}

follow() {
    local began precision at event position=0
    read -r began precision < "$board/jobs/$1"
    exec 9<> "$board/never"
    while IFS=' ' read -r at event; do
        position=$((position + ${#event} + 1))
        ((position > $2)) || continue
        sleep_until $((began + at))
        printf '%s\n' "$event"
    done < "$tapes/$precision/journal"
}

case $command in
    probe | submit | put | follow) "$command" "$@" ;;
    cancel) printf '{"job_id":"%s","missing":[],"state":"cancelled","type":"submitted"}\n' "$1" ;;
    *)
        printf '{"message":"a stand-in does not know %s","reason":"bad_request","type":"failed"}\n' "$command"
        exit 2
        ;;
esac
