//! The world when nothing hostile happens: for stories, and for the end of every life.

use std::collections::BTreeSet;
use std::time::Duration;

use kvraft::replica::{Event, OrderResult, Replica, Request, Response};
use kvraft::types::{NodeId, Random, Ticket};

use crate::clients::TIMEOUT;
use crate::world::World;

impl World {
    /// Everybody is up and connected: soon all have applied the same, and something new.
    pub fn peace(&mut self, random: &mut Random) -> Result<(), String> {
        self.cut = None;
        for id in self.ids() {
            self.resume(id)?;
            if self.is_down(id) {
                self.start(id, random)?;
            }
        }
        let before = self.clients.acknowledged();
        self.calm(random, 1_000, |world| {
            world.clients.acknowledged() > before + 3
                && world.all_equal()
                && world.nothing_is_ordered()
        })
    }

    /// Clients write and nothing is lost, until `done`; at most so many times 5 ms.
    pub fn calm(
        &mut self,
        random: &mut Random,
        steps: u32,
        done: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let before = self.clients.acknowledged();
        for _ in 0..steps {
            self.five_calm_millis(random)?;
            if done(self) {
                return Ok(());
            }
            // Then it is quiet, so that all can become equal.
            if self.clients.acknowledged() <= before + 3 {
                let id = self.somebody(random);
                self.client_step(id, random)?;
            }
        }
        Err(format!("calm in vain for {} ms:\n{}", steps * 5, self.describe()))
    }

    /// Nothing is lost, and no client asks for anything.
    pub fn idle(&mut self, random: &mut Random, time: Duration) -> Result<(), String> {
        (0..time.as_millis() / 5).try_for_each(|_| self.five_calm_millis(random))
    }

    fn five_calm_millis(&mut self, random: &mut Random) -> Result<(), String> {
        self.time_passes(Duration::from_millis(5))?;
        while !self.network.is_empty() {
            self.deliver(random, 0.0)?;
        }
        for id in self.ids() {
            while self.nodes[&id].disk.step() {
                self.turn(id, Event::Disk)?;
            }
        }
        Ok(())
    }

    /// So many more writes are acknowledged.
    pub fn write(&mut self, random: &mut Random, writes: u64) -> Result<(), String> {
        let wanted = self.clients.acknowledged() + writes;
        while self.clients.acknowledged() < wanted {
            let reached = self.clients.acknowledged() + 3.min(wanted - self.clients.acknowledged());
            self.calm(random, 1_000, |world| world.clients.acknowledged() >= reached)?;
        }
        Ok(())
    }

    /// Waits for an order's answer.
    pub fn outcome(&mut self, random: &mut Random, ticket: Ticket) -> Result<OrderResult, String> {
        self.calm(random, 1_000, |world| world.orders.contains_key(&ticket))?;
        Ok(self.orders[&ticket].clone())
    }

    /// Who leads, once somebody does that everybody who is up follows.
    pub fn leader(&mut self, random: &mut Random) -> Result<NodeId, String> {
        let agreed = |world: &World| {
            let up = world.nodes.values().filter_map(|node| node.replica.as_ref());
            let leaders: BTreeSet<_> = up.map(|r| r.status().consensus.leader).collect();
            leaders.first().copied().flatten().filter(|_| leaders.len() == 1)
        };
        self.calm(random, 1_000, |world| agreed(world).is_some())?;
        agreed(self).ok_or_else(|| "it was there just now".into())
    }

    /// All nodes, up or down.
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// From its next start on, `id` runs a program that knows the state machine up to `version`.
    pub fn exchange_program(&mut self, id: NodeId, version: u16) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.supports = version;
        }
    }

    /// Tells `id` to stop; it is up until it is crashed.
    pub fn stop(&mut self, id: NodeId) -> Result<(), String> {
        self.turn(id, Event::Stop)
    }

    /// Whether `id` still hands its leadership over.
    pub fn is_handing_over(&self, id: NodeId) -> bool {
        let replica = self.nodes.get(&id).and_then(|node| node.replica.as_ref());
        replica.is_some_and(Replica::is_handing_over)
    }

    /// Asks `id` to do `request`, and lets time pass until it answers.
    pub fn ask(
        &mut self,
        random: &mut Random,
        id: NodeId,
        request: Request,
    ) -> Result<Response, String> {
        self.ask_within(random, id, request, TIMEOUT)
    }

    /// The same, with another time-out.
    pub fn ask_within(
        &mut self,
        random: &mut Random,
        id: NodeId,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, String> {
        let ticket = Ticket(u64::MAX - 1);
        self.turn(id, Event::Client { ticket, request, timeout, trace: None })?;
        self.calm(random, 1_000, |world| world.alone.is_some())?;
        self.alone.take().ok_or_else(|| "it was there just now".into())
    }

    /// Asks `id` for something, and does not wait for the answer.
    pub fn order_write(&mut self, id: NodeId, request: Request) -> Result<(), String> {
        let ticket = Ticket(u64::MAX - 1);
        let turn = self.turn(id, Event::Client { ticket, request, timeout: TIMEOUT, trace: None });
        self.alone = None;
        turn
    }
}
