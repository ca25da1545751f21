@0xecd612167513f3b5;
# What the log holds beside commands. Shared by the log on disk and by the messages between nodes.

struct Configuration {
  # Who the members are. It lives in the log from its first entry (Raft paper, section 6).
  voters    @0 :List(UInt64);
  outgoing  @1 :List(UInt64);   # the old voters during a joint change, else empty
  learners  @2 :List(UInt64);
  addresses @3 :List(Address);  # ascending by node

  struct Address {
    node    @0 :UInt64;
    address @1 :Text;           # "unix:/…" or "tcp:127.0.0.1:…"
  }
}

struct Entry {
  term    @0 :UInt64;
  index   @1 :UInt64;
  kind    @2 :Kind;
  payload @3 :Data;             # command: as the client wrote it; configuration: a Configuration message

  enum Kind {
    noop          @0;
    command       @1;
    configuration @2;
  }
}
