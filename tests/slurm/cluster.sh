# shellcheck shell=bash
# tests/slurm/cluster.sh - a real Slurm cluster of three node names on one machine, sourced by tests/slurm/run.
#
#     cluster_possible || exit 77      says what is missing
#     cluster_enter "$0" "$@"          goes on in namespaces of its own: network, mounts, processes
#     cluster_start                    munged, slurmctld, three slurmd; waits until all nodes are idle
#
# Everything lives under $CLUSTER, a tmpfs that only these namespaces see, and every process in a process namespace
# that ends with the script: nothing can be left behind. Node names are train1, gen1, gen2; each has a slurmd of its
# own, all on one address. Partitions: work (preempted by requeueing), urgent (preempts).

cluster_nodes="train1 gen1 gen2"

cluster_possible() {
    local program
    for program in slurmctld slurmd munged sbatch srun scontrol scancel squeue unshare ip; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || {
            echo "skipped: $program is missing (ops/deps test)"
            return 1
        }
    done
    [ "$(id -u)" = 0 ] || {
        echo "skipped: slurmd and munged of a test cluster need root"
        return 1
    }
    unshare --net --mount --pid --fork --mount-proc true 2>/dev/null || {
        echo "skipped: this machine makes no namespaces"
        return 1
    }
}

# Runs the calling script again inside. Its exit code is that of the inner one.
cluster_enter() {
    [ -n "${CLUSTER:-}" ] && return
    CLUSTER=$(mktemp -d /tmp/weir-slurm.XXXXXX)
    export CLUSTER
    local code=0
    unshare --net --mount --pid --fork --mount-proc --kill-child bash "$@" || code=$?
    rmdir "$CLUSTER"
    exit "$code"
}

cluster_private_files() {
    mount -t tmpfs tmpfs "$CLUSTER"
    mount -t tmpfs tmpfs /dev/shm
    mkdir -p "$CLUSTER"/{munge,state,spool,log}
    chmod 700 "$CLUSTER/munge"
    printf '127.0.0.1 localhost\n10.99.9.1 %s\n' "$(hostname -s)" >"$CLUSTER/hosts"
    mount --bind "$CLUSTER/hosts" /etc/hosts
    ip link set lo up
    ip link add v0 type veth peer name v1
    ip addr add 10.99.9.1/24 dev v0
    ip link set v0 up
    ip link set v1 up
}

cluster_config() {
    local port=17001 node
    cat <<END
ClusterName=weirtest
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$CLUSTER/munge/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$CLUSTER/state
SlurmdSpoolDir=$CLUSTER/spool/%n
SlurmctldPidFile=$CLUSTER/slurmctld.pid
SlurmdPidFile=$CLUSTER/slurmd.%n.pid
SlurmctldParameters=preempt_send_user_signal
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
SlurmctldTimeout=10
SlurmdTimeout=10
MinJobAge=300
END
    for node in $cluster_nodes; do
        echo "NodeName=$node NodeAddr=127.0.0.1 Port=$port CPUs=4 RealMemory=4000 State=UNKNOWN"
        port=$((port + 1))
    done
    echo "PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30"
    echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF"
}

cluster_start_node() {
    mkdir -p "$CLUSTER/spool/$1"
    slurmd -D -N "$1" -f "$SLURM_CONF" >>"$CLUSTER/log/slurmd.$1" 2>&1 &
}

# cluster_wait SECONDS COMMAND...: until it succeeds.
cluster_wait() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

cluster_nodes_idle() {
    [ "$(sinfo -h -p work -t idle -o %D 2>/dev/null)" = 3 ]
}

cluster_start() {
    PATH=$PATH:/usr/sbin:/sbin
    export SLURM_CONF=$CLUSTER/slurm.conf
    cluster_private_files
    cluster_config >"$SLURM_CONF"
    dd if=/dev/urandom of="$CLUSTER/munge/key" bs=1024 count=1 status=none
    chmod 600 "$CLUSTER/munge/key"
    munged --force --foreground --socket="$CLUSTER/munge/munge.sock" --key-file="$CLUSTER/munge/key" \
        --pid-file="$CLUSTER/munge/pid" --log-file="$CLUSTER/munge/log" \
        --seed-file="$CLUSTER/munge/seed" --origin=127.0.0.1 >"$CLUSTER/log/munged" 2>&1 &
    cluster_wait 5 test -S "$CLUSTER/munge/munge.sock" || return 1
    slurmctld -D -c -f "$SLURM_CONF" >"$CLUSTER/log/slurmctld" 2>&1 &
    local node
    for node in $cluster_nodes; do cluster_start_node "$node"; done
    cluster_wait 20 cluster_nodes_idle
}

cluster_job_state() {
    scontrol -o show job "$1" 2>/dev/null | head -1 | tr ' ' '\n' | sed -n 's/^JobState=//p'
}
