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
  }
}

struct RequestVote {
  term         @0 :UInt64;
  lastLogIndex @1 :UInt64;
  lastLogTerm  @2 :UInt64;
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
  }
}

struct Relay {
  # A client's request, handed on to the leader. The leader answers once; nobody sends it twice.
  ticket  @0 :UInt64;
  request @1 :Client.Request;
}

struct RelayReply {
  ticket   @0 :UInt64;
  response @1 :Client.Response;
}
