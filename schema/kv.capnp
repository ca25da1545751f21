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
    # From the state machine's version 3 on:
    transaction     @10 :Transaction;
    compact         @11 :Compact;
    leaseGrant      @12 :LeaseGrant;
    leaseRevoke     @13 :LeaseRevoke;
    leaseCheckpoint @14 :List(LeaseCheckpoint);
    # From version 4 on:
    alarm           @15 :AlarmOrder;
    announce        @16 :Announcement;
    enlist          @17 :Enlist;
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

struct Transaction {
  compare @0 :List(Compare);      # all of them hold: success is done, else failure
  success @1 :List(RequestOp);
  failure @2 :List(RequestOp);
}

struct Compare {
  # What each key of a range must be like. Without any key there, the numbers are compared to zero,
  # and a comparison of values does not hold.
  start @0 :Data;                 # inclusive; one key: up to that key and a zero byte
  end   @1 :Data;                 # exclusive; empty: to the last key
  result @2 :Result;
  union {
    version        @3 :UInt64;
    createRevision @4 :UInt64;
    modRevision    @5 :UInt64;
    value          @6 :Data;
    lease          @7 :UInt64;
  }

  enum Result {
    equal    @0;
    greater  @1;
    less     @2;
    notEqual @3;
  }
}

struct RequestOp {
  union {
    range       @0 :Range;
    put         @1 :PutRequest;
    deleteRange @2 :DeleteRange;
    transaction @3 :Transaction;
  }
}

struct PutRequest {
  key         @0 :Data;
  value       @1 :Data;
  lease       @2 :UInt64;         # 0: none
  prevKv      @3 :Bool;           # answer what was there before
  ignoreValue @4 :Bool;           # keep the value that is there; there must be one
  ignoreLease @5 :Bool;           # keep the lease that is there; there must be a key
}

struct DeleteRange {
  start  @0 :Data;                # inclusive; one key: up to that key and a zero byte
  end    @1 :Data;                # exclusive; empty: to the last key
  prevKv @2 :Bool;                # answer what was there before
}

struct Compact {
  revision @0 :UInt64;            # what was before it may be forgotten
}

struct LeaseGrant {
  id  @0 :UInt64;                 # never 0: whoever proposes draws one
  ttl @1 :UInt64;                 # seconds
}

struct LeaseRevoke {
  id @0 :UInt64;
}

struct LeaseCheckpoint {
  # How long the lease lasts if a new leader takes over now.
  id        @0 :UInt64;
  remaining @1 :UInt64;           # seconds; 0: as long as it was granted for
}

struct Alarm {
  member @0 :UInt64;
  kind   @1 :Kind;

  enum Kind {
    none    @0;                   # no alarm at all
    noSpace @1;
    corrupt @2;
  }
}

struct AlarmOrder {
  alarm @0 :Alarm;
  isOn  @1 :Bool;                 # else it goes off
}

struct Announcement {
  node       @0 :UInt64;
  name       @1 :Data;            # UTF-8, as the addresses
  clientUrls @2 :List(Data);
}

struct Enlist {
  node @0 :UInt64;                # a learner; it is to get a vote once it has caught up
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
    transaction        @7 :TransactionResult;
    compacted          @8 :Void;
    leaseGranted       @9 :Void;
    leaseRevoked       @10 :UInt64;   # how many keys went with it
    leasesCheckpointed @11 :Void;
    alarm              @12 :Alarm;    # that is on now, or was until now
    announced          @13 :Void;
    enlisted           @14 :Void;
  }

  enum Refusal {
    unknownVersion @0;            # the command is of a version this state machine does not know
    malformed      @1;
    sessionExpired @2;            # the session was dropped; whether an earlier try was applied is unknown
    sessionFull    @3;            # too many unacknowledged writes in one session
    staleSequence  @4;            # a result that the client said it had received is asked for again
    compacted      @5;            # the revision is older than what is kept
    futureRevision @6;            # the revision is not there yet
    keyNotFound    @7;            # a put wants to keep what is there, and nothing is
    leaseNotFound  @8;
    leaseExists    @9;
    resultTooLarge @10;           # the transaction would answer more than is kept and sent at once
    tooMuchToVisit @11;           # the transaction would look at more keys than any may
    noSpace        @12;           # the alarm is on
    corrupt        @13;           # the alarm is on
    tooMany        @14;           # alarms, or members
  }
}

struct TransactionResult {
  succeeded @0 :Bool;             # the comparisons held
  responses @1 :List(ResponseOp); # one for each operation that was done, in order
}

struct ResponseOp {
  union {
    range       @0 :RangeResponse;
    put         @1 :KeyValue;     # what was there before, if that was asked (an empty key: nothing)
    deleteRange @2 :DeleteRangeResponse;
    transaction @3 :TransactionResult;
  }
}

struct RangeResponse {
  items @0 :List(KeyValue);
  more  @1 :Bool;                 # the limit left some out
  count @2 :UInt64;               # keys in the whole range
}

struct DeleteRangeResponse {
  deleted @0 :UInt64;
  prev    @1 :List(KeyValue);     # what was there before, if that was asked
}

struct KeyValue {
  key            @0 :Data;
  value          @1 :Data;
  createRevision @2 :UInt64;
  modRevision    @3 :UInt64;
  version        @4 :UInt64;      # changes since the key was created, from 1
  lease          @5 :UInt64;      # 0: none
}

struct Query {
  union {
    get    @0 :Data;
    range  @1 :Range;
    lease  @2 :LeaseQuery;        # how long it lasts, and its keys
    leases @3 :UInt64;            # those with ids above this one
    revision    @4 :Void;         # the store's, and nothing else
    transaction @5 :Transaction;  # one that changes nothing, whichever way it goes
  }
}

struct LeaseQuery {
  id    @0 :UInt64;
  keys  @1 :Bool;                 # answer the keys that are attached, too
  after @2 :Data;                 # those after this one
}

struct Range {
  start    @0 :Data;              # inclusive; empty: from the first key
  end      @1 :Data;              # exclusive; empty: to the last key
  limit    @2 :UInt64;            # at most so many keys; 0: as many as fit one answer
  keysOnly @3 :Bool;
  countOnly @4 :Bool;
  revision          @5 :UInt64;   # as it was then; 0: as it is
  minModRevision    @6 :UInt64;   # leaves out keys changed last before; 0: none
  maxModRevision    @7 :UInt64;   # leaves out keys changed last after; 0: none
  minCreateRevision @8 :UInt64;
  maxCreateRevision @9 :UInt64;
  sortOrder  @10 :SortOrder;
  sortTarget @11 :SortTarget;
  skip @12 :UInt64;               # so many of those that would be answered came in earlier answers

  enum SortOrder {
    none    @0;                   # by key; by another target: ascending
    ascend  @1;
    descend @2;
  }

  enum SortTarget {
    key     @0;
    version @1;
    create  @2;
    mod     @3;
    value   @4;
  }
}

struct Answer {
  revision @0 :UInt64;            # of the store when it was read
  items    @1 :List(KeyValue);    # in the order that was asked for; for get: one or none
  more     @2 :Bool;              # there is more than this answer holds, of keys or of leases: go on
                                  # after the last; in any order but that of the keys, with skip
  count    @3 :UInt64;            # keys in the whole range, or of the lease; or leases
  leases   @4 :List(LeaseStatus); # ascending by id
  refusal :union {
    none    @5 :Void;
    refused @6 :Outcome.Refusal;  # there is no answer
  }
  transaction @7 :TransactionResult; # of a transaction; absent otherwise
}

struct LeaseStatus {
  id        @0 :UInt64;
  granted   @1 :UInt64;           # seconds
  remaining @2 :UInt64;           # as of the last checkpoint; 0: as granted
  keys      @3 :List(Data);       # ascending, if they were asked for
}
