#!/bin/sh
# usage: docker/check.sh [bookworm|trixie] [ROOTFS]             (as root; five minutes)
#
# Carries out docker/Dockerfile without a Docker daemon: every FROM is a copy of ROOTFS (a Debian
# root file system, made by debootstrap if not given), every COPY a copy, every RUN a command in a
# chroot with its own mounts. Then the image's default command runs as its user, with no
# capabilities, and a trace is forwarded. It understands what our Dockerfile uses, no more.
set -eu

die() { echo "check.sh: $*" >&2; exit 1; }

debian=${1:-trixie} rootfs=${2-}
case $debian in bookworm | trixie) ;; *) die "unknown release $debian" ;; esac
[ "$(id -u)" = 0 ] || die "must be run as root"
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/var/tmp}/veridnet-docker.XXXXXX")
trap 'rm -rf "$work"' EXIT # nothing is mounted outside of the namespaces below
trap 'exit 1' HUP INT TERM
if [ -z "$rootfs" ]; then
    rootfs=$work/rootfs
    debootstrap --variant=minbase "$debian" "$rootfs" >"$work/log" 2>&1 || die "$(tail -n 1 "$work/log")"
fi

in_root() { # COMMAND...: in the chroot $root, in folder $dir, with mounts of its own
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare -m sh -euc '
        root=$1 dir=$2 path=$3
        shift 3
        mount -t proc proc "$root/proc"
        for name in dev sys; do mount --rbind "/$name" "$root/$name"; done
        # How this machine reaches its package mirrors: names, and a proxy'\''s certificates.
        cp -L /etc/resolv.conf "$root/etc/resolv.conf"
        touch "$root/etc/host-ca.crt"
        mount --bind /etc/ssl/certs/ca-certificates.crt "$root/etc/host-ca.crt"
        exec env -i HOME=/root PATH="$path" DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
            PIP_CERT=/etc/host-ca.crt "$(command -v chroot)" "$root" /bin/sh -euc "cd \"\$1\"; shift; exec \"\$@\"" \
            sh "$dir" "$@"
    ' sh "$root" "$dir" "$path" "$@"
}
copy() { # SOURCE... TARGET: as COPY does: the contents of a folder, or a file
    for to; do :; done
    case $to in /*) ;; *) to=${dir%/}/$to ;; esac
    while [ $# -gt 1 ]; do
        if [ -d "$from/$1" ]; then
            mkdir -p "$root$to"
            cp -a "$from/$1/." "$root$to/"
        else
            case $to in */) mkdir -p "$root$to" ;; *) mkdir -p "$(dirname "$root$to")" ;; esac
            cp -a "$from/$1" "$root$to"
        fi
        shift
    done
}

# Comments out, continued lines joined.
sed '/^[[:space:]]*#/d' docker/Dockerfile | sed -e ':a' -e '/\\$/N; s/\\\n[[:space:]]*//; ta' \
    >"$work/steps"
root='' user=0 stages=0
while read -r word rest; do
    case $word in
    '' | ARG | SHELL | ENTRYPOINT) continue ;;
    esac
    echo "== $word $rest"
    case $word in
    FROM)
        stages=$((stages + 1)) dir=/ user=0
        path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        case $rest in *' AS '*) name=${rest##* AS } ;; *) name=final ;; esac
        root=$work/$name
        cp -a "$rootfs" "$root"
        ;;
    RUN) in_root sh -euc "$rest" </dev/null >"$work/log" 2>&1 || { tail -n 20 "$work/log"; die "failed: $rest"; } ;;
    COPY)
        from=.
        case $rest in
        --from=*) from=${rest%% *} from=$work/${from#--from=} rest=${rest#* } ;;
        esac
        # shellcheck disable=SC2086 # our paths have no spaces
        copy $rest
        ;;
    WORKDIR) dir=$rest; mkdir -p "$root$dir" ;;
    ENV) case $rest in PATH=*) path=${rest#PATH=} path="${path%:\$PATH}:/usr/local/bin:/usr/bin:/bin" ;; esac ;;
    USER) user=$rest ;;
    CMD) default=$(echo "$rest" | tr -d '[]",') ;;
    *) die "check.sh does not know $word" ;;
    esac
done <"$work/steps"

echo "== the runtime stage ($(du -sh "$root" | cut -f1)): no compiler"
# shellcheck disable=SC2016 # the inner shell expands it
in_root sh -euc 'for tool in cc gcc c++ ld cython meson ninja make pip; do
    if command -v $tool; then echo "$tool is there"; exit 1; fi
done' || die "a compiler or its like is in the runtime stage"
as_user() { in_root setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --no-new-privs "$@"; }
echo "== veridnet $default"
# shellcheck disable=SC2086 # one word an argument
as_user veridnet $default
echo "== veridnet l2fwd, examples/demo.pcap"
as_user veridnet l2fwd --port=pcap:rx=examples/demo.pcap --port=pcap:tx=/dev/null
echo "$debian: $stages stages, all steps done"
