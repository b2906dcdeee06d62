#!/usr/bin/env bash
# A Slurm of eleven nodes on this one machine, from Debian's packages, for the tests beside it.
#
#   cluster.sh up      installs what is missing, starts the daemons, waits until all nodes are idle
#   cluster.sh node N  starts the node N again after its daemon was killed
#   cluster.sh down    ends the daemons that `up` started and removes the configuration
#
# Partitions: cpu (c1 to c6), gpu (g1, g2; two GPUs each), spare (p1, jobs of `urgent` there put its
# own back in the queue), dying (d1, d2). Needs root. Memory and devices are handed out but not
# enforced: a GPU is a file.
set -euo pipefail
# daemons, and what starts them, are not on every PATH
PATH=$PATH:/usr/sbin:/sbin

conf=/etc/slurm
run=/run/slurm-of-tests
mark="# written by tests/slurm/cluster.sh"
nodes="c1 c2 c3 c4 c5 c6 g1 g2 p1 d1 d2"

refuse() { echo "cluster.sh: $*" >&2; exit 1; }

# A pid file's process, when it still is the daemon that wrote the file.
running() { [ -s "$1" ] && grep -qsE '^(slurmctld|slurmd|munged)$' "/proc/$(cat "$1")/comm"; }

wait_for() {  # SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || refuse "$what; see $run/log"
        sleep .2
    done
}

install_packages() {
    local missing=() package
    for package in munge openssl slurmctld slurmd slurm-client slurm-wlm-basic-plugins; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    echo "cluster.sh: installing ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "${missing[@]}" >/dev/null
}

write_configuration() {
    # At its usual place: a job step of the executor plugin drops SLURM_CONF.
    for file in slurm.conf gres.conf cgroup.conf; do
        if [ -e $conf/$file ] && ! grep -qxF "$mark" $conf/$file; then
            refuse "$conf/$file is of another cluster: run these tests elsewhere"
        fi
    done
    mkdir -p $conf $run/log $run/state $run/dev
    local port=17820 node
    {
        cat <<CONF
$mark
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that was requeued begins when its old credential has expired
AuthInfo=cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation=$run/state
SlurmdSpoolDir=$run/%n
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd-%n.pid
SlurmctldLogFile=$run/log/slurmctld.log
SlurmdLogFile=$run/log/slurmd-%n.log
SlurmctldPort=17817
SlurmdTimeout=10
MinJobAge=3600
GresTypes=gpu
AccountingStorageType=accounting_storage/none
PartitionName=cpu Nodes=c[1-6] Default=YES PriorityTier=1
PartitionName=gpu Nodes=g[1-2] PriorityTier=1
PartitionName=spare Nodes=p1 PriorityTier=1
PartitionName=urgent Nodes=p1 PriorityTier=2
PartitionName=dying Nodes=d[1-2] PriorityTier=1
CONF
        for node in $nodes; do
            port=$((port + 1))
            echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$port CPUs=4" \
                "RealMemory=64000 $([[ $node != g* ]] || echo Gres=gpu:2)"
        done
    } >$conf/slurm.conf
    { echo "$mark"; echo "NodeName=g[1-2] Name=gpu File=$run/dev/gpu[0-1]"; } >$conf/gres.conf
    { echo "$mark"; echo "CgroupAutomount=no"; } >$conf/cgroup.conf
    touch $run/dev/gpu0 $run/dev/gpu1
}

start_munge() {
    [ -S /run/munge/munge.socket.2 ] && munge -n >/dev/null 2>&1 && return
    mkdir -p /run/munge
    chown munge:munge /run/munge
    runuser -u munge -- /usr/sbin/munged --pid-file=/run/munge/munged.pid
    ln -sf /run/munge/munged.pid $run/munged.pid
    wait_for 10 "munged does not answer" munge -n
}

start_node() {
    mkdir -p "$run/$1"
    running "$run/slurmd-$1.pid" || slurmd -N "$1"
}

all_idle() { [ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" = "$(wc -w <<<"$nodes")" ]; }

up() {
    install_packages
    write_configuration
    start_munge
    running $run/slurmctld.pid || slurmctld -c
    for node in $nodes; do start_node "$node"; done
    wait_for 30 "the nodes are not idle" all_idle
}

none_left() {
    for file in "$@"; do ! running "$file" || return 1; done
}

down() {
    grep -qsxF "$mark" $conf/slurm.conf || return 0
    timeout 10 scancel --user root || true
    local files=($run/*.pid) file
    for file in "${files[@]}"; do ! running "$file" || kill "$(cat "$file")"; done
    wait_for 20 "the daemons do not end" none_left "${files[@]}"
    rm -rf $run $conf/slurm.conf $conf/gres.conf $conf/cgroup.conf
}

[ "$(id -u)" = 0 ] || refuse "needs root"
case "${1:-}" in
    up) up ;;
    node) start_node "$2" ;;
    down) down ;;
    *) refuse "give up, node NAME or down" ;;
esac
