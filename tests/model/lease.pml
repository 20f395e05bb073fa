/* tests/model/lease.pml - lease, segment, ledger, acknowledgement, plan and checkpoint, as a finite machine.
 *
 * Two actors generate two rollouts of TOKENS tokens; the store keeps a log and syncs it before anything leaves; the learner
 * trains plan 1 = rollout 0 and plan 2 = rollout 1. Store, actors and learner crash at any step, connections are reset with
 * whatever is on them, FAULTS times in all. Spin visits every reachable state; the assertions are the promises:
 *
 *   A1  an acknowledgement, a lease and a plan that left the store stand in the synced log
 *   A2  tokens of a rollout are contiguous, and only the holder of its lease adds to it
 *   A3  the place of an actor has one owner at a time
 *   A4  weights hold every plan at or below their version exactly once
 *   A5  a version that is made again has the digest that was registered
 *   A6  what is scored and planned stays until a checkpoint that holds it is on disk
 *   end: no state without a next step but the one where both plans are consumed: nothing was lost, whoever died
 *
 * -DPLANT_ACK_EARLY (acknowledge before the sync), -DPLANT_LEASE_TWICE (a crash forgets the lease it gave),
 * -DPLANT_ANY_HOLDER (a frame is taken from whoever sends it), -DPLANT_FREE_EARLY (planned tokens go at the
 * registration): each must be found. A frame is one token; frame ids are positions. */

#ifndef FAULTS
#define FAULTS 2 /* crashes, resets and silences, of any kind, in any order */
#endif
#define ACTORS 2
#define TASKS 2
#ifndef TOKENS
#define TOKENS 2
#endif
#define NOBODY 255

mtype = { HELLO, WELCOME, FRAME, ACK, CANCEL, LEASE };

/* kind, incarnation, task, lease, position */
chan up[ACTORS] = [2] of { mtype, byte, byte, byte, byte };
chan down[ACTORS] = [2] of { mtype, byte, byte, byte, byte };

/* The log after its last sync, and the state made of it and of records not yet synced. */
typedef book {
    byte position[TASKS];   /* tokens in the log */
    byte holder[TASKS];     /* incarnation that has the lease, NOBODY */
    byte lease[TASKS];      /* number of the newest lease */
    byte next_lease;
    byte planned;           /* plans 1..planned are committed */
    byte version;           /* registered */
    byte digest[TASKS + 1]; /* of each registered version: which rollouts it holds, as bits */
    byte consumed           /* plans at or below it are on disk in a checkpoint */
}
book disk, now;
bool tokens_kept[TASKS];    /* the store still has the tokens */

/* transient in the store */
byte place[ACTORS];         /* incarnation that has the place, NOBODY */
bool store_up = true;

/* actors */
byte incarnation[ACTORS];
bool greeted[ACTORS];
bool said[ACTORS];
byte next_incarnation = ACTORS;
typedef work {
    bool has[TASKS];
    byte lease[TASKS];
    byte made[TASKS];       /* tokens it has of the rollout */
    byte sent[TASKS];       /* of them, in frames on this connection */
    byte acked[TASKS]
}
work actor[ACTORS];

/* learner: weights as a bit for each rollout, and a count to see doubles */
byte weights, weights_version, file_weights, file_version;
bool learner_up = true;

byte faults_left = FAULTS;

/* Guards are whole: a step that has begun can always be finished. */
#define ready(a) (place[a] != NOBODY && place[a] == incarnation[a] && greeted[a] && nfull(down[a]))
#define queued(t) (now.holder[t] == NOBODY && now.position[t] < TOKENS)
#define owner(t) (now.holder[t] % ACTORS) /* place of the holder: incarnations are numbered so */
/* Its process is gone, or has no such lease and nothing about it is on the way. */
#define lost(t) (now.holder[t] != NOBODY && (now.holder[t] != incarnation[owner(t)] || \
                 (!actor[owner(t)].has[t] && empty(down[owner(t)]) && empty(up[owner(t)]) && greeted[owner(t)])))

inline cut(a) /* a connection ends with what is on it */
{
    do
    :: nempty(up[a]) -> up[a]?_, _, _, _, _
    :: empty(up[a]) -> break
    od;
    do
    :: nempty(down[a]) -> down[a]?_, _, _, _, _
    :: empty(down[a]) -> break
    od;
    greeted[a] = false;
    said[a] = false
}

inline load_book() /* the log, read again */
{
    i = 0;
    do
    :: i < TASKS ->
        now.position[i] = disk.position[i];
        now.holder[i] = disk.holder[i];
        now.lease[i] = disk.lease[i];
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i <= TASKS -> now.digest[i] = disk.digest[i]; i++
    :: else -> break
    od;
    now.next_lease = disk.next_lease;
    now.planned = disk.planned;
    now.version = disk.version;
    now.consumed = disk.consumed
}

inline sync()
{
    i = 0;
    do
    :: i < TASKS ->
        disk.position[i] = now.position[i];
        disk.holder[i] = now.holder[i];
        disk.lease[i] = now.lease[i];
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i <= TASKS -> disk.digest[i] = now.digest[i]; i++
    :: else -> break
    od;
    disk.next_lease = now.next_lease;
    disk.planned = now.planned;
    disk.version = now.version;
    disk.consumed = now.consumed
}

inline forget() /* what a finished step leaves behind must not multiply states */
{
    a = 0; t = 0; who = 0; number = 0; at = 0; i = 0; j = 0; kind = 0;
    answer = 0; answer_task = 0; answer_lease = 0; answer_at = 0
}

/* A round: one message or one decision, records, sync, then what may leave. A crash stands between any two steps. */
proctype store()
{
    byte a, t, who, number, at, i, j, answer_task, answer_lease, answer_at;
    mtype kind, answer;
    do
    :: atomic { /* a message of an actor */
            store_up && (nempty(up[0]) || nempty(up[1])) ->
            if
            :: nempty(up[0]) -> a = 0
            :: nempty(up[1]) -> a = 1
            fi;
            up[a]?kind, who, t, number, at;
            answer = 0;
            if
            :: kind == HELLO ->
                if
                :: place[a] != who ->
                    /* by its own connection it is known that the former owner is gone; leases of before a restart too */
                    j = 0;
                    do
                    :: j < TASKS ->
                        if
                        :: now.holder[j] != NOBODY && now.holder[j] != who && owner(j) == a ->
                            now.holder[j] = NOBODY
                        :: else
                        fi;
                        j++
                    :: else -> break
                    od
                :: else
                fi;
                place[a] = who;
                answer = WELCOME; answer_task = 0; answer_lease = 0; answer_at = 0
            :: kind == FRAME && place[a] != who -> skip /* it will be asked for a hello */
            :: kind == FRAME && place[a] == who ->
                answer_task = t; answer_lease = number;
                if
#ifdef PLANT_ANY_HOLDER
                :: now.position[t] == at ->
#else
                :: now.holder[t] == who && now.lease[t] == number && now.position[t] == at ->
#endif
                    assert(at < TOKENS && now.holder[t] == who); /* A2 */
                    now.position[t] = at + 1;
                    answer = ACK; answer_at = at + 1;
                    if
                    :: now.position[t] == TOKENS -> now.holder[t] = NOBODY
                    :: else
                    fi
                :: now.lease[t] == number && now.position[t] > at -> /* a repeat */
                    answer = ACK; answer_at = at + 1
                :: else -> answer = CANCEL; answer_at = 0
                fi
            fi
        }
#ifdef PLANT_ACK_EARLY
        if
        :: atomic { answer == ACK && store_up && greeted[a] && nfull(down[a]) ->
                    down[a]!answer, who, answer_task, answer_lease, answer_at }
        :: answer != ACK || !greeted[a] || full(down[a])
        fi;
#endif
        if
        :: atomic { store_up -> sync() }
        :: !store_up
        fi;
        if
        :: atomic { /* what leaves stands in the log */
                store_up && answer != 0 && nfull(down[a]) && place[a] == incarnation[a] ->
                if
                :: answer == ACK -> assert(disk.position[answer_task] >= answer_at) /* A1 */
                :: else
                fi;
                if
                :: answer == WELCOME -> greeted[a] = true
                :: else
                fi;
                down[a]!answer, place[a], answer_task, answer_lease, answer_at;
                forget()
            }
        :: atomic { !store_up || answer == 0 || place[a] != incarnation[a] || disk.consumed == TASKS -> forget() }
        fi

    :: atomic { /* a lease */
            store_up && (ready(0) || ready(1)) && (queued(0) || queued(1)) ->
            if
            :: ready(0) -> a = 0
            :: ready(1) -> a = 1
            fi;
            if
            :: queued(0) -> t = 0
            :: queued(1) -> t = 1
            fi;
            who = place[a];
            now.lease[t] = now.next_lease;
            now.next_lease++;
            now.holder[t] = who;
            number = now.lease[t]; at = now.position[t]
        }
#ifndef PLANT_LEASE_TWICE
        if
        :: atomic { store_up -> sync() }
        :: !store_up
        fi;
#endif
        if
        :: atomic {
                store_up && place[a] == who && incarnation[a] == who && greeted[a] && nfull(down[a]) ->
                assert(disk.holder[t] == who && disk.lease[t] == number); /* A1, A3 */
                down[a]!LEASE, who, t, number, at;
                forget()
            }
        :: atomic { (store_up && !(place[a] == who && incarnation[a] == who && greeted[a])) || disk.consumed == TASKS -> forget() }
        :: atomic { !store_up -> forget() }
        fi

    :: atomic { /* an owner of a place that is gone for good loses its leases (silence) */
            store_up && (lost(0) || lost(1)) ->
            if
            :: lost(0) -> t = 0
            :: lost(1) -> t = 1
            fi;
            now.holder[t] = NOBODY;
            forget();
            sync()
        }

    :: atomic { /* silence: it takes a lease from an actor that lives and may wake up */
            store_up && faults_left > 0 && (now.holder[0] != NOBODY || now.holder[1] != NOBODY) ->
            faults_left--;
            if
            :: now.holder[0] != NOBODY -> now.holder[0] = NOBODY
            :: now.holder[1] != NOBODY -> now.holder[1] = NOBODY
            fi;
            sync()
        }
    :: atomic { /* a plan, as soon as its rollout is finished: a decision, synced before anybody sees it */
            store_up && now.planned < TASKS && now.planned == now.version &&
            now.position[now.planned] == TOKENS ->
            now.planned++; /* nothing of it leaves before the learner reads it from the log */
            sync()
        }

    :: atomic { !store_up -> /* start again: the log, nobody connected */
            load_book();
            answer = 0;
            place[0] = NOBODY; place[1] = NOBODY;
            cut(0);
            cut(1);
            store_up = true
        }
    :: atomic { disk.consumed == TASKS -> break }
    od
}

proctype actor_process(byte a)
{
    byte t, who, number, at, i;
    mtype kind;
    do
    :: atomic { !said[a] && store_up && nfull(up[a]) ->
            up[a]!HELLO, incarnation[a], 0, 0, 0;
            said[a] = true;
            actor[a].sent[0] = actor[a].acked[0]; /* what is not acknowledged goes again */
            actor[a].sent[1] = actor[a].acked[1]
        }
    :: atomic { nempty(down[a]) ->
            down[a]?kind, who, t, number, at;
            if
            :: kind == LEASE && who == incarnation[a] ->
                actor[a].has[t] = true; actor[a].lease[t] = number;
                actor[a].made[t] = at; actor[a].sent[t] = at; actor[a].acked[t] = at
            :: kind == ACK && actor[a].has[t] && actor[a].lease[t] == number ->
                assert(at <= actor[a].made[t] && disk.position[t] >= at); /* A1 */
                if
                :: at > actor[a].acked[t] -> actor[a].acked[t] = at
                :: else
                fi;
                if
                :: actor[a].acked[t] == TOKENS -> actor[a].has[t] = false
                :: else
                fi
            :: kind == CANCEL && actor[a].has[t] && actor[a].lease[t] == number -> actor[a].has[t] = false
            :: else
            fi;
            kind = 0; who = 0; number = 0; at = 0;
            if
            :: !actor[a].has[t] ->
                actor[a].lease[t] = 0; actor[a].made[t] = 0; actor[a].sent[t] = 0; actor[a].acked[t] = 0
            :: else
            fi;
            t = 0
        }
    :: atomic { greeted[a] && nfull(up[a]) && actor[a].has[0] && actor[a].sent[0] < TOKENS ->
            if
            :: actor[a].made[0] == actor[a].sent[0] -> actor[a].made[0]++ /* the next token is generated */
            :: else
            fi;
            up[a]!FRAME, incarnation[a], 0, actor[a].lease[0], actor[a].sent[0]; actor[a].sent[0]++ }
    :: atomic { greeted[a] && nfull(up[a]) && actor[a].has[1] && actor[a].sent[1] < TOKENS ->
            if
            :: actor[a].made[1] == actor[a].sent[1] -> actor[a].made[1]++ /* the next token is generated */
            :: else
            fi;
            up[a]!FRAME, incarnation[a], 1, actor[a].lease[1], actor[a].sent[1]; actor[a].sent[1]++ }
    :: atomic { disk.consumed == TASKS -> break }
    od
}

/* Requests and answers of the learner are one step each: it repeats them until answered, so what matters is what the
 * store has done, not how often it was asked. */
proctype learner()
{
    byte i;
    do
    :: atomic { /* train the plan that makes the next version, from what the store still has */
            learner_up && store_up && disk.planned > weights_version ->
            assert(tokens_kept[weights_version]);                    /* A6 */
            assert(((weights >> weights_version) & 1) == 0);         /* A4 */
            weights = weights | (1 << weights_version);
            weights_version++
        }
    :: atomic { /* register: the log first, then the acknowledgement */
            learner_up && store_up && weights_version > disk.version ->
            now.version = weights_version;
            now.digest[weights_version] = weights;
            disk.version = weights_version;
            disk.digest[weights_version] = weights;
            assert(weights == (1 << weights_version) - 1);           /* A4 */
#ifdef PLANT_FREE_EARLY
            tokens_kept[weights_version - 1] = false
#endif
        }
    :: atomic { /* made again after a restart: the same digest */
            learner_up && weights_version > 0 && weights_version <= disk.version ->
            assert(disk.digest[weights_version] == weights);         /* A5 */
            if
            :: file_version < weights_version -> file_weights = weights; file_version = weights_version
            :: file_version >= weights_version -> skip
            :: disk.planned > weights_version -> skip                 /* no checkpoint at this version */
            fi
        }
    :: atomic { /* report the checkpoint */
            learner_up && store_up && file_version > disk.consumed && file_version <= disk.version ->
            assert(file_weights == disk.digest[file_version]);
            now.consumed = file_version;
            disk.consumed = file_version;
            i = 0;
            do
            :: i < file_version -> tokens_kept[i] = false; i++
            :: else -> break
            od;
            i = 0
        }
    :: atomic { !learner_up -> weights = file_weights; weights_version = file_version; learner_up = true }
    :: atomic { disk.consumed == TASKS -> break }
    od
}

proctype faults()
{
    byte a, i;
    do
    :: atomic { store_up && faults_left > 0 -> faults_left--; store_up = false }
    :: atomic { faults_left > 0 ->
            faults_left--;
            if
            :: a = 0
            :: a = 1
            fi;
            cut(a);
            incarnation[a] = next_incarnation + a; /* place a = incarnation modulo ACTORS */
            next_incarnation = next_incarnation + ACTORS;
            i = 0;
            do
            :: i < TASKS ->
                actor[a].has[i] = false; actor[a].lease[i] = 0; actor[a].made[i] = 0;
                actor[a].sent[i] = 0; actor[a].acked[i] = 0;
                i++
            :: else -> break
            od;
            a = 0; i = 0
        }
    :: atomic { faults_left > 0 ->
            faults_left--;
            if
            :: cut(0)
            :: cut(1)
            fi
        }
    :: atomic { learner_up && faults_left > 0 -> faults_left--; learner_up = false }
    :: atomic { disk.consumed == TASKS -> break }
    od
}

init {
    atomic {
        disk.holder[0] = NOBODY; disk.holder[1] = NOBODY; disk.next_lease = 1;
        now.holder[0] = NOBODY; now.holder[1] = NOBODY; now.next_lease = 1;
        place[0] = NOBODY; place[1] = NOBODY;
        incarnation[0] = 0; incarnation[1] = 1;
        tokens_kept[0] = true; tokens_kept[1] = true;
        run store();
        run actor_process(0);
        run actor_process(1);
        run learner();
        run faults()
    }
}
