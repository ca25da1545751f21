@0xdf0dc9e589a7b100;
# What clients say to a node. Any node serves: a follower relays what only the leader can do.

interface Client {
  hello @0 () -> (hello :Hello);
  execute @1 (request :Request) -> (response :Response);
}

struct Hello {
  cluster      @0 :UInt64;
  node         @1 :UInt64;
  leader       @2 :UInt64;        # 0: unknown
  term         @3 :UInt64;
  appliedIndex @4 :UInt64;        # for opening a session
  revision     @5 :UInt64;
  build        @6 :Text;          # version of the program
}

struct Request {
  timeoutMillis @0 :UInt32;       # from arrival; then the answer is "unknown" or "refused"
  union {
    write @1 :Data;               # a kv.Command message; goes into the log as it is
    read  :group {
      query @2 :Data;             # a kv.Query message
      stale @3 :Bool;             # from this node's state as it is, instead of linearizable
      lease @4 :LeaseQuestion;    # instead of a query, which is then empty: a program that does not
    }                             # know this finds a query that it cannot read, and refuses it
    member @5 :MemberOrder;       # known from the state machine's version 4 on
  }
  traceParent @6 :Text;           # W3C trace context, if somebody follows the request's path
}

struct LeaseQuestion {
  # What only the leader knows of a lease. Answered like a kv.Query for it.
  id        @0 :UInt64;
  keepAlive @1 :Bool;             # it is to last its whole time from now on
}

struct Response {
  union {
    written @0 :Data;             # a kv.Outcome message
    answer  @1 :Data;             # a kv.Answer message
    refused @2 :Refused;          # certainly no effect
    unknown @3 :Text;             # it may or may not take effect; says why
    member  @4 :MemberResult;
  }
}

struct MemberOrder {
  # A change of membership. Addresses are those of the peers' transport, "tcp:127.0.0.1:…".
  union {
    add :group {                  # the cluster gives it a number
      address @0 :Text;
      learner @1 :Bool;           # else it gets a vote once it has caught up
    }
    promote @2 :UInt64;
    remove  @3 :UInt64;
    update :group {
      node       @4 :UInt64;
      newAddress @5 :Text;
    }
  }
}

struct MemberResult {
  union {
    done    @0 :UInt64;           # to this member
    refused @1 :Refusal;          # certainly no effect
  }

  enum Refusal {
    notEnoughStarted @0;          # of those who would vote
    unhealthy        @1;          # too few are in reach, or not for long
    addressExists    @2;
    notFound         @3;
    notLearner       @4;
    notCaughtUp      @5;
    tooManyLearners  @6;
    tooManyMembers   @7;
  }
}

struct Refused {
  message @0 :Text;               # what happened, and what to do next
  union {
    noLeader         @1 :UInt64;  # not taken by a leader; who leads as far as is known (0: nobody)
    busy             @2 :UInt32;  # try again after so many milliseconds
    invalid          @3 :Void;    # never try again
    noSpace          @4 :Void;    # the disk is full, or so is the quota
    timedOut         @5 :Void;    # never proposed within its time
    stopping         @6 :Void;    # this node is going down: ask another
    disagreement     @7 :Void;    # the replicas' states differ: no writes until an operator decides
    repairing        @8 :Void;    # this node repairs its log: ask another
  }
}
