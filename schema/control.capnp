@0x9e31932ef49486c7;
# What operators say to one node, and to the supervisor of a cluster. Only ever over Unix sockets.

interface Node {
  status   @0 () -> (status :NodeStatus);
  shutdown @1 () -> ();           # stops gracefully; answers when no new request is taken
}

struct NodeStatus {
  node           @0 :UInt64;
  cluster        @1 :UInt64;
  pid            @2 :UInt32;
  role           @3 :Text;        # follower, candidate, leader, learner
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
}

struct PeerStatus {
  # A leader's view of another member.
  node            @0 :UInt64;
  matchIndex      @1 :UInt64;
  nextIndex       @2 :UInt64;
  state           @3 :Text;       # probe, replicate
  silentMillis    @4 :UInt64;     # since it last answered; the largest number: never
}

interface Supervisor {
  # A request that cannot be done is answered with `refused`: what is wrong and what to do next, for
  # people. It is empty when the request was done.
  status     @0 () -> (status :ClusterStatus);
  act        @1 (node :UInt64, action :Action) -> (node :UInt64, refused :Text);
                                  # node 0: the leader; answers when it is done, with the node it
                                  # was done to
  down       @2 (graceMillis :UInt32) -> (stopped :List(Stopped), refused :Text);
                                  # stops every node, then the supervisor itself; 0: 5 seconds
  events     @3 (after :UInt64, limit :UInt32, waitMillis :UInt32) -> (events :List(Event));
                                  # after 0: the newest; else the first ones after that sequence;
                                  # waits so long for one if there is none

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
}
