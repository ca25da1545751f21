@0x9e31932ef49486c7;
# What operators say to one node, and to the supervisor of a cluster. Only ever over Unix sockets.

interface Node {
  status   @0 () -> (status :NodeStatus);
  shutdown @1 () -> ();           # stops gracefully; answers when no new request is taken

  # Orders: of the leader, where only it can do it; nobody hands them on. `timeoutMillis` 0: 5 s.
  transfer         @2 (to :UInt64, timeoutMillis :UInt32) -> (outcome :Outcome);
                                  # to 0: whoever is furthest
  changeMembership @3 (changes :List(Change), timeoutMillis :UInt32) -> (outcome :Outcome);
                                  # all of them at once, or none
  takeSnapshot     @4 (timeoutMillis :UInt32) -> (outcome :Outcome);
  openSnapshot     @5 () -> (snapshot :Snapshot, refused :Text);
                                  # the newest; refused: there is none

  # Faults on the links that it sends on: the whole list, as JSON, as it stands in faults.json. A
  # list that is older than the one in force changes nothing.
  setFaults        @6 (table :Text) -> (refused :Text);
}

struct Outcome {
  # What became of an order.
  kind     @0 :Kind;
  leader   @1 :UInt64;            # refused, and that one leads; 0: unknown
  message  @2 :Text;              # for people

  enum Kind {
    done    @0;
    refused @1;                   # certainly no effect
    unknown @2;                   # begun; whether it takes effect is unknown
  }
}

struct Change {
  node    @0 :UInt64;
  address @1 :Text;               # of a new learner, or one that moves: where its peers reach it
  kind    @2 :Kind;

  enum Kind {
    addLearner @0;
    promote    @1;
    demote     @2;
    remove     @3;
    relocate   @4;
  }
}

interface Snapshot {
  # A snapshot's file, open: it can be read to its end although a newer one replaces it.
  describe @0 () -> (index :UInt64, term :UInt64, bytes :UInt64);
  read     @1 (offset :UInt64, maxBytes :UInt32) -> (data :Data);
                                  # at most 1 MiB; nothing at the end
}

struct NodeStatus {
  node           @0 :UInt64;
  cluster        @1 :UInt64;
  pid            @2 :UInt32;
  role           @3 :Text;        # follower, pre-candidate, candidate, leader, learner
  term           @4 :UInt64;
  votedFor       @5 :UInt64;      # 0: nobody
  leader         @6 :UInt64;      # 0: unknown
  firstIndex     @7 :UInt64;
  lastIndex      @8 :UInt64;
  durableIndex   @9 :UInt64;
  commitIndex    @10 :UInt64;
  appliedIndex   @11 :UInt64;
  revision       @12 :UInt64;
  keys           @13 :UInt64;
  stateHash      @14 :Text;       # hexadecimal, of the state at appliedIndex
  uptimeMillis   @15 :UInt64;
  logBytes       @16 :UInt64;     # on disk
  segments       @17 :UInt32;
  diskFull       @18 :Bool;
  ready          @19 :Bool;       # has a leader and is caught up
  peers          @20 :List(PeerStatus);
  voters         @21 :List(UInt64);
  learners       @22 :List(UInt64);
  durability     @23 :Text;       # fsync, none
  build          @24 :Text;
  outgoing       @25 :List(UInt64);  # during a change of membership: the voters of before
  snapshotIndex  @26 :UInt64;     # the last entry that the newest snapshot covers; 0: none
  snapshotBytes  @27 :UInt64;
  transferTarget @28 :UInt64;     # of a transfer of leadership under way; 0: none
  faults         @29 :UInt32;     # injected, in force, on links that it sends on
  faultsVersion  @30 :UInt64;     # of the list of faults that it has
  lastMember     @31 :UInt64;     # the highest number that a member ever had, as far as is known
  snapshotsInstalled @32 :UInt64; # since the process began
  links          @33 :List(LinkTraffic);
  served         @34 :Served;
}

struct LinkTraffic {
  # What was sent to a peer since the process began.
  peer           @0 :UInt64;
  connected      @1 :Bool;
  sentMessages   @2 :UInt64;
  sentBytes      @3 :UInt64;
  deliveries     @4 :UInt64;      # batches that the peer has taken
  deliveryMicros @5 :UInt64;      # how long that took, all together
  dropped        @6 :UInt64;
  faulted        @7 :UInt64;      # messages that a fault met
  underWay       @8 :UInt64;      # held back now, by a fault or by slow motion
}

struct Served {
  # Clients' requests since the process began.
  reads          @0 :UInt64;
  writes         @1 :UInt64;
  failed         @2 :UInt64;
  commits        @3 :UInt64;      # writes proposed here and applied
  commitMicros   @4 :UInt64;      # how long that took, all together
}

struct PeerStatus {
  # A leader's view of another member.
  node            @0 :UInt64;
  matchIndex      @1 :UInt64;
  nextIndex       @2 :UInt64;
  state           @3 :Text;       # probe, replicate, snapshot
  silentMillis    @4 :UInt64;     # since it last answered; the largest number: never
}

interface Supervisor {
  # A request that cannot be done is answered with `refused`: what is wrong and what to do next, for
  # people. It is empty when the request was done.
  status     @0 () -> (status :ClusterStatus);
  act        @1 (node :UInt64, action :Action, yes :Bool)
             -> (node :UInt64, refused :Text, guarded :Bool);
                                  # node 0: the leader; answers when it is done, with the node it
                                  # was done to; yes: even if that takes away the quorum of a
                                  # protected cluster; guarded: refused for that reason alone
  down       @2 (graceMillis :UInt32) -> (stopped :List(Stopped), refused :Text);
                                  # stops every node, then the supervisor itself; 0: 5 seconds
  events     @3 (after :UInt64, limit :UInt32, waitMillis :UInt32) -> (events :List(Event));
                                  # after 0: the newest; else the first ones after that sequence;
                                  # waits so long for one if there is none

  # Membership and leadership. Each ends where it is when the one who asked goes away, and can be
  # asked for again: what is done already is not done twice. `refused`: not possible as things stand.
  # `unfinished`: not within the time; what is missing. `timeoutMillis` 0: a minute.
  memberAdd     @4 (node :UInt64, learner :Bool, timeoutMillis :UInt32)
                -> (node :UInt64, refused :Text, unfinished :Text);
                                  # node 0: a new one, or the one whose joining is not finished
  memberPromote @5 (node :UInt64, timeoutMillis :UInt32) -> (refused :Text, unfinished :Text);
  memberRemove  @6 (node :UInt64, purge :Bool, timeoutMillis :UInt32)
                -> (refused :Text, unfinished :Text);
                                  # purge: its data, too
  transfer      @7 (to :UInt64, timeoutMillis :UInt32)
                -> (handover :Handover, refused :Text, unfinished :Text);
                                  # to 0: whoever is furthest
  takeSnapshot  @8 (node :UInt64, timeoutMillis :UInt32)
                -> (taken :List(Taken), refused :Text, unfinished :Text);
                                  # node 0: every one that runs

  # Faults on purpose. What is asked for, what is in force and what was healed are JSON, the same
  # as kvctl prints and scenario files hold: see the room `chaos`.
  inject     @9 (injection :Text, yes :Bool)
             -> (fault :Text, warning :Text, unheard :List(UInt64), refused :Text,
                 guarded :Bool);
                                  # answers when every node that runs has it; unheard: those that
                                  # do not answer and will get it when they do. yes: even if it
                                  # takes away the quorum of a protected cluster; guarded:
                                  # refused for that reason alone
  heal       @10 (faults :List(UInt64))
             -> (healed :Text, unheard :List(UInt64), refused :Text);
                                  # none named: all
  faults     @11 () -> (faults :Text);

  # A trial of this cluster has ended with this verdict: for its history and its metrics.
  judged     @12 (verdict :Text) -> (refused :Text);

  # Prometheus and Grafana beside the cluster; order and status are JSON.
  ops        @13 (order :Text) -> (status :Text, refused :Text);

  enum Action {
    start   @0;                   # also: try a crash-looping node again
    stop    @1;                   # SIGTERM, then SIGKILL after a grace; stays down
    kill    @2;                   # SIGKILL; the supervisor starts it again
    pause   @3;                   # SIGSTOP
    resume  @4;                   # SIGCONT
    restart @5;                   # stop, then start
  }
}

struct ClusterStatus {
  name          @0 :Text;
  cluster       @1 :UInt64;
  directory     @2 :Text;
  transport     @3 :Text;         # unix, tcp
  supervisorPid @4 :UInt32;
  httpAddress   @5 :Text;         # of the supervisor's own metrics
  nodes         @6 :List(NodeState);
  build         @7 :Text;
  durability    @8 :Text;         # what cluster.toml asks for
  leader        @9 :UInt64;       # of those that say they lead, in the newest term; 0: nobody
  term          @10 :UInt64;
  ready         @11 :Bool;        # there is a leader, and every node that should run is ready
  foreground    @12 :Bool;        # the supervisor takes the nodes with it when it ends
  sinceMillis   @13 :UInt64;      # Unix time of the supervisor's own start
  retired       @14 :List(Retired);  # who was a member and is not any more
  faults        @15 :UInt32;      # injected, in force
  slow          @16 :UInt32 = 1;  # so many times slower than it could be
}

struct Retired {
  node        @0 :UInt64;
  sinceMillis @1 :UInt64;         # Unix time
  purged      @2 :Bool;           # its data, too, is gone
}

struct Handover {
  from       @0 :UInt64;
  to         @1 :UInt64;
  term       @2 :UInt64;          # the new leader's
  tookMillis @3 :UInt64;          # from the order until the new leader said that it leads
}

struct Taken {
  node    @0 :UInt64;
  done    @1 :Bool;
  message @2 :Text;
}

struct NodeState {
  # What the supervisor knows of a node, whether it runs or not.
  node          @0 :UInt64;
  state         @1 :State;
  pid           @2 :UInt32;       # 0: no process
  sinceMillis   @3 :UInt64;       # Unix time of the last change of state
  restarts      @4 :UInt32;       # by the supervisor, not deliberate
  lastExit      @5 :Text;         # "exit code 1", "signal 9 (SIGKILL)", "unknown"; empty: never ended
  client        @6 :Text;         # "unix:/…" or "tcp:127.0.0.1:…"
  peer          @7 :Text;
  control       @8 :Text;
  http          @9 :Text;         # "127.0.0.1:…"
  log           @10 :Text;        # path of its log file
  adopted       @11 :Bool;        # the supervisor found it running
  nextStartMillis @12 :UInt64;    # Unix time of the next try, while backing off; else 0
  problem       @13 :Text;        # why it does not run as asked, with its last words; else empty
  report        @14 :NodeStatus;  # what the node itself said last; absent: nothing since its start
  reportMillis  @15 :UInt64;      # Unix time of the report
  standing      @16 :Standing;
  progress      @17 :Text;        # of a change of its membership under way; else empty
  grpc          @18 :Text;        # "127.0.0.1:…", of etcd's API; empty: it has none yet

  enum Standing {
    # What people want it to be, as far as the supervisor was told; the log says what it is.
    member      @0;
    joining     @1;               # it is to become a member
    leaving     @2;               # it is to be removed
  }

  enum State {
    starting      @0;             # spawned, does not answer yet
    running       @1;
    unresponsive  @2;             # alive, but does not answer
    paused        @3;             # by SIGSTOP
    stopping      @4;
    stopped       @5;             # on purpose
    backingOff    @6;             # died; waits for its next start
    crashLooping  @7;             # died too often; waits for a person
  }
}

struct Stopped {
  node   @0 :UInt64;
  how    @1 :Text;                # "stopped", "killed after 5s", "was not running"
}

struct Event {
  sequence   @0 :UInt64;
  timeMillis @1 :UInt64;          # Unix time
  node       @2 :UInt64;          # 0: the cluster
  kind       @3 :Text;            # stable words: node-started, node-exited, leader-changed, …
  detail     @4 :Text;
  fault      @5 :Text;            # JSON, of a fault that began (as far as it shows) or ended
}
