// microsoft/etcd3: the examples of its README and its documentation, over gRPC.

const assert = require('node:assert');
const { once } = require('node:events');
const { Etcd3 } = require('etcd3');

const hosts = process.env.ETCDCTL_ENDPOINTS.split(',').map((host) => `http://${host}`);
// Its default, snapshots too, takes any two keys of different ages for a conflict.
const SERIALIZABLE = 1;

const client = new Etcd3({ hosts });

const examples = {
  async keys() {
    await client.put('foo').value('bar');
    assert.strictEqual(await client.get('foo').string(), 'bar');
    assert.deepStrictEqual(await client.getAll().prefix('f').keys(), ['foo']);
    await client.put('numbers/1').value(1);
    await client.put('numbers/2').value(2);
    assert.deepStrictEqual(await client.getAll().prefix('numbers/').numbers(), {
      'numbers/1': 1,
      'numbers/2': 2,
    });
    const limited = client.getAll().prefix('numbers/').sort('Key', 'Descend').limit(1);
    assert.deepStrictEqual(await limited.keys(), ['numbers/2']);
    assert.strictEqual(await client.getAll().prefix('numbers/').count(), 2);
    const { deleted } = await client.delete().prefix('numbers/');
    assert.strictEqual(deleted, '2');
    assert.strictEqual(await client.get('nothing'), null);
  },

  async transactions() {
    const swap = () =>
      client
        .if('foo', 'Value', '==', 'bar')
        .then(client.put('foo').value('changed'))
        .else(client.get('foo'))
        .commit();
    assert.strictEqual((await swap()).succeeded, true);
    const second = await swap();
    assert.strictEqual(second.succeeded, false);
    assert.strictEqual(second.responses[0].response_range.kvs[0].value.toString(), 'changed');
  },

  async softwareTransactions() {
    await client.put('from').value(10);
    await client.put('to').value(0);
    const move = () =>
      client.stm({ isolation: SERIALIZABLE }).transact(async (tx) => {
        const from = Number(await tx.get('from').number());
        const to = Number(await tx.get('to').number());
        await tx.put('from').value(from - 1);
        await tx.put('to').value(to + 1);
      });
    for (let step = 0; step < 5; step += 1) await move();
    assert.strictEqual(await client.get('from').number(), 5);
    assert.strictEqual(await client.get('to').number(), 5);
  },

  async watches() {
    const watcher = await client.watch().key('watched').create();
    const put = once(watcher, 'put');
    await client.put('watched').value('seen');
    assert.strictEqual((await put)[0].value.toString(), 'seen');
    const gone = once(watcher, 'delete');
    await client.delete().key('watched');
    assert.strictEqual((await gone)[0].key.toString(), 'watched');
    await watcher.cancel();
  },

  async leases() {
    const lease = client.lease(10);
    await lease.put('leased').value('x');
    assert.strictEqual((await lease.keepaliveOnce()).TTL, '10');
    await lease.revoke();
    assert.strictEqual(await client.get('leased'), null);
  },

  async locks() {
    const held = await client.lock('resource').acquire();
    await assert.rejects(client.lock('resource').acquire());
    await held.release();
    await client.lock('resource').do(async () => {});
  },

  async elections() {
    const election = client.election('singleton', 10);
    const campaign = election.campaign('me');
    await once(campaign, 'elected');
    assert.strictEqual(await election.leader(), 'me');
    await campaign.resign();
    assert.strictEqual(await election.leader(), undefined);
  },

  async namespaces() {
    const user = client.namespace('user/1/');
    await user.put('name').value('Ada');
    assert.strictEqual(await client.get('user/1/name').string(), 'Ada');
    await client.delete().all();
    assert.deepStrictEqual(await client.getAll().keys(), []);
  },
};

(async () => {
  for (const [name, example] of Object.entries(examples)) {
    await example();
    console.log(`microsoft/etcd3: ${name}`);
  }
  client.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
