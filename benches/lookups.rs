//! A number of lookups and nothing else, for `instructions.sh`: `lookups SHAPE COUNT`.

mod scene;

use std::hint::black_box;

use scene::{Asked, Scene, Shape};
use sluicegate::table::Table;

/// How many lookups are counted.
const LOOKUPS: usize = 10_000;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let (Some(name), Some(count)) = (args.get(1), args.get(2)) else {
        return;
    };
    let shape = Shape::ALL.iter().find(|(known, _)| known == name);
    let (Some((_, shape)), Ok(count)) = (shape, count.parse()) else {
        return;
    };
    let table = Scene::new(*shape, count).table();
    let mut asked = Asked::new(*shape, count);
    // A regex takes memory for its first match, which is no part of a lookup's cost.
    lookups(&table, &mut asked);
    counted(&table, &mut asked);
}

fn lookups(table: &Table, asked: &mut Asked) {
    for _ in 0..LOOKUPS {
        black_box(table.find(&asked.question(), &mut ()).is_some());
    }
}

/// What callgrind counts; `instructions.sh` knows it by this name.
#[inline(never)]
fn counted(table: &Table, asked: &mut Asked) {
    lookups(table, asked);
}
