@0xf0c234e8d8fec3e9;
# Commands, queries and their results: what clients ask of the state machine.
#
# A command goes into the log byte for byte as the client encoded it, so these forms are versioned
# and only ever grow: fields are added, never changed.

struct Command {
  version @0 :UInt16;             # 1; a replica refuses what it does not know, alike on every node
  session :group {                # absent (both halves zero): the write is not deduplicated
    idHigh       @1 :UInt64;      # 128 random bits, drawn by the client
    idLow        @2 :UInt64;
    sequence     @3 :UInt64;      # numbers this session's writes, from 1
    acknowledged @4 :UInt64;      # results up to this sequence arrived: the replicas may forget them
    openedAt     @5 :UInt64;      # the applied index that the client saw when it opened the session
  }
  union {
    put            @6 :Put;
    delete         @7 :Delete;
    compareAndSwap @8 :CompareAndSwap;
    raiseVersion   @9 :UInt16;    # from now on the state machine is of this version; without session
  }
}

struct Put {
  key   @0 :Data;
  value @1 :Data;
}

struct Delete {
  key @0 :Data;
}

struct CompareAndSwap {
  key   @0 :Data;
  value @1 :Data;
  expected :union {
    absent      @2 :Void;         # the key must not exist
    value       @3 :Data;         # its value must be this
    modRevision @4 :UInt64;       # it must have been changed last at this revision
  }
}

struct Outcome {
  # What applying a command did.
  revision @0 :UInt64;            # of the store, right after
  union {
    put       @1 :Bool;           # whether the key existed before
    deleted   @2 :Bool;           # whether there was such a key
    swapped   @3 :Void;
    unchanged @4 :KeyValue;       # compare-and-swap found this instead (an empty key: nothing)
    refused   @5 :Refusal;
    raised    @6 :UInt16;         # the state machine's version now
  }

  enum Refusal {
    unknownVersion @0;            # the command is of a version this state machine does not know
    malformed      @1;
    sessionExpired @2;            # the session was dropped; whether an earlier try was applied is unknown
    sessionFull    @3;            # too many unacknowledged writes in one session
    staleSequence  @4;            # a result that the client said it had received is asked for again
  }
}

struct KeyValue {
  key            @0 :Data;
  value          @1 :Data;
  createRevision @2 :UInt64;
  modRevision    @3 :UInt64;
  version        @4 :UInt64;      # changes since the key was created, from 1
}

struct Query {
  union {
    get   @0 :Data;
    range @1 :Range;
  }
}

struct Range {
  start    @0 :Data;              # inclusive; empty: from the first key
  end      @1 :Data;              # exclusive; empty: to the last key
  limit    @2 :UInt64;            # at most so many keys; 0: as many as fit one answer
  keysOnly @3 :Bool;
  countOnly @4 :Bool;
}

struct Answer {
  revision @0 :UInt64;            # of the store when it was read
  items    @1 :List(KeyValue);    # ascending by key; for get: one or none
  more     @2 :Bool;              # the range holds more than this answer; go on after the last key
  count    @3 :UInt64;            # keys in the whole range
}
