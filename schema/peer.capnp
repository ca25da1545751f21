@0xd9543cbd0e63fb18;
# Everything that nodes say to each other.
#
# One method: its return is flow control and never evidence for consensus. A reply is a message of
# its own, delivered on the replier's connection, so that one fault policy for each directed link
# covers all traffic (design section 7).

using Log = import "log.capnp";
using Client = import "client.capnp";

interface Peer {
  deliver @0 (batch :Batch) -> ();
}

struct Batch {
  cluster  @0 :UInt64;
  from     @1 :UInt64;
  to       @2 :UInt64;
  messages @3 :List(Message);
}

struct Message {
  union {
    requestVote        @0 :RequestVote;
    requestVoteReply   @1 :RequestVoteReply;
    appendEntries      @2 :AppendEntries;
    appendEntriesReply @3 :AppendEntriesReply;
    relay              @4 :Relay;
    relayReply         @5 :RelayReply;
    preVote            @6 :PreVote;
    preVoteReply       @7 :PreVoteReply;
    installSnapshot    @8 :InstallSnapshot;
    installSnapshotReply @9 :InstallSnapshotReply;
    timeoutNow         @10 :UInt64;   # the leader's term
    readIndex          @11 :ReadIndex;
    readIndexReply     @12 :ReadIndexReply;
    stateHash          @13 :StateHash;
    supports           @14 :UInt16;   # the newest version of the state machine that the sender knows
    repairRequest      @15 :RepairRequest;
    repairReply        @16 :RepairReply;
    snapshotRequest    @17 :SnapshotRequest;
    snapshotReply      @18 :SnapshotReply;
  }
}

struct RequestVote {
  term         @0 :UInt64;
  lastLogIndex @1 :UInt64;
  lastLogTerm  @2 :UInt64;
  transfer     @3 :Bool;          # the leader itself handed over
}

struct PreVote {
  nextTerm     @0 :UInt64;        # the term that the sender would stand in
  lastLogIndex @1 :UInt64;
  lastLogTerm  @2 :UInt64;
}

struct PreVoteReply {
  term     @0 :UInt64;
  nextTerm @1 :UInt64;            # from the request
  granted  @2 :Bool;
}

struct RequestVoteReply {
  term    @0 :UInt64;
  granted @1 :Bool;
}

struct AppendEntries {
  term         @0 :UInt64;
  prevLogIndex @1 :UInt64;
  prevLogTerm  @2 :UInt64;
  entries      @3 :List(Log.Entry);
  leaderCommit @4 :UInt64;
  round        @5 :UInt64;        # confirms leadership for reads: echoed in the reply
}

struct AppendEntriesReply {
  term  @0 :UInt64;
  round @1 :UInt64;
  union {
    matched  @2 :UInt64;          # the last index known to equal the leader's *and* to be durable
    conflict :group {
      rejected @3 :UInt64;        # the prevLogIndex that did not match
      term     @4 :UInt64;        # the follower's term there; 0: its log is shorter
      index    @5 :UInt64;        # the first index of that term; or one past the follower's log
    }
    stale      @6 :Void;          # the request is of an older term: nothing else is said
  }
}

struct InstallSnapshot {
  # A part of a snapshot, for a follower whose next entries the leader has no more.
  term          @0 :UInt64;
  snapshotIndex @1 :UInt64;       # the last entry that the snapshot covers
  snapshotTerm  @2 :UInt64;
  offset        @3 :UInt64;       # where the data lies in the snapshot
  data          @4 :Data;
  done          @5 :Bool;         # the data reaches its end
}

struct InstallSnapshotReply {
  term          @0 :UInt64;
  snapshotIndex @1 :UInt64;       # from the request
  union {
    received    @2 :UInt64;       # bytes of the snapshot that have come: go on from there
    installed   @3 :Void;         # everything up to the snapshot's index is there, and durable
  }
}

struct ReadIndex {
  # A follower wants to serve reads: how far must it have applied?
  term        @0 :UInt64;
  incarnation @1 :UInt64;         # of the follower, drawn at each start
  counter     @2 :UInt64;         # counts its questions since
}

struct ReadIndexReply {
  term        @0 :UInt64;
  incarnation @1 :UInt64;         # from the request
  counter     @2 :UInt64;
  at          @3 :UInt64;
}

struct Relay {
  # A client's request, handed on to the leader. The leader answers once; nobody sends it twice.
  ticket  @0 :UInt64;
  request @1 :Client.Request;
  term    @2 :UInt64;             # in which the receiver leads, as the sender knows
}

struct StateHash {
  # The sender's state at an index that all compare at.
  index @0 :UInt64;
  high  @1 :UInt64;
  low   @2 :UInt64;
}

struct RepairRequest {
  # The sender's entry at index is damaged: what does the receiver have there?
  index @0 :UInt64;
  term  @1 :UInt64;               # of the damaged entry; 0: not known
}

struct RepairReply {
  index @0 :UInt64;               # from the request
  union {
    entry      @1 :Log.Entry;     # what stands there, undamaged
    lacks      @2 :Void;          # the log is undamaged around there, and has no such entry
    cannotTell @3 :UInt64;        # damaged there too, or compacted up to this index
  }
}

struct SnapshotRequest {
  # The sender's entry at covers is damaged, and compacted elsewhere: it wants a snapshot instead.
  covers   @0 :UInt64;
  snapshot @1 :UInt64;            # the one that it has begun to receive; 0: the newest
  offset   @2 :UInt64;
}

struct SnapshotReply {
  index  @0 :UInt64;              # the snapshot's last entry
  term   @1 :UInt64;
  offset @2 :UInt64;
  data   @3 :Data;
  done   @4 :Bool;                # nothing follows
}

struct RelayReply {
  ticket   @0 :UInt64;
  response @1 :Client.Response;
}
