//! Orders of operators, counted.

use prometheus::IntCounterVec;

use crate::observe::{MetricError, Registry};
use crate::replica::{Order, OrderResult};

const ORDERS: [&str; 3] = ["transfer", "change_membership", "take_snapshot"];

const ORDER_OUTCOMES: [&str; 3] = ["done", "refused", "unknown"];

/// Orders of operators.
#[derive(Debug)]
pub struct OrderMetrics {
    orders: IntCounterVec,
}

impl OrderMetrics {
    pub fn new(registry: &Registry) -> Result<OrderMetrics, MetricError> {
        let orders = registry.counters(
            "kvraft_orders_total",
            "Orders of operators given to this node, by kind and by what became of them.",
            &["order", "outcome"],
        )?;
        for order in ORDERS {
            ORDER_OUTCOMES.iter().for_each(|it| drop(orders.with_label_values(&[order, it])));
        }
        Ok(OrderMetrics { orders })
    }

    /// It is known what became of an order.
    pub fn ended(&self, order: &Order, result: &OrderResult) {
        let order = match order {
            Order::Transfer { .. } => ORDERS[0],
            Order::ChangeMembership { .. } => ORDERS[1],
            Order::TakeSnapshot => ORDERS[2],
        };
        let outcome = match result {
            OrderResult::Done(_) => ORDER_OUTCOMES[0],
            OrderResult::Refused { .. } => ORDER_OUTCOMES[1],
            OrderResult::Unknown(_) => ORDER_OUTCOMES[2],
        };
        self.orders.with_label_values(&[order, outcome]).inc();
    }
}
