//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::net::limits::Limits;
use crate::net::stats::Turned;
use crate::proxy::trust::TrustedProxies;

type Counts = HashMap<IpAddr, usize, foldhash::fast::RandomState>;

/// The process-wide count of live connections.
#[derive(Debug)]
pub struct Admission {
    most: usize,
    most_per_address: Option<usize>,
    trusted: TrustedProxies,
    live: AtomicUsize,
    addresses: Mutex<Counts>,
    empty: Notify,
}

/// A place taken; given back when dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    pub fn new(limits: &Limits) -> Self {
        Self {
            most: limits.connections,
            most_per_address: limits.connections_per_address,
            trusted: limits.trusted.clone(),
            live: AtomicUsize::new(0),
            addresses: Mutex::default(),
            empty: Notify::new(),
        }
    }

    /// Takes a place for a connection. `address` is `None` where addresses are not counted.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Turned> {
        let counts =
            |address: &IpAddr| self.most_per_address.is_some() && !self.trusted.contains(*address);
        let address = address.filter(counts);
        // From here on a refusal gives back what was taken by dropping the place.
        let mut place = Place {
            admission: self.clone(),
            address: None,
        };
        if self.live.fetch_add(1, Ordering::AcqRel) >= self.most {
            return Err(Turned::Full);
        }
        if let Some(address) = address {
            self.admit_address(address)?;
            place.address = Some(address);
        }
        Ok(place)
    }

    fn admit_address(&self, address: IpAddr) -> Result<(), Turned> {
        let mut addresses = self.addresses();
        let count = addresses.entry(address).or_default();
        if self.most_per_address.is_some_and(|most| *count >= most) {
            return Err(Turned::AddressFull);
        }
        *count += 1;
        Ok(())
    }

    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Resolves when there is no connection.
    pub async fn empty(&self) {
        loop {
            let empty = self.empty.notified();
            if self.live() == 0 {
                return;
            }
            empty.await;
        }
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Counts> {
        // No code panics while holding it.
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn release_address(&self, address: IpAddr) {
        let mut addresses = self.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.admission.release_address(address);
        }
        if self.admission.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.admission.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(most: usize, most_per_address: Option<usize>) -> Arc<Admission> {
        Arc::new(Admission::new(&Limits {
            connections: most,
            connections_per_address: most_per_address,
            trusted: TrustedProxies::parse(["10.0.0.99"]).unwrap(),
            ..Limits::default()
        }))
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn the_total_is_bounded_and_places_come_back() {
        let admission = admission(2, None);
        let one = admission.admit(address(1)).unwrap();
        let _two = admission.admit(address(1)).unwrap();
        assert_eq!(admission.admit(address(2)).unwrap_err(), Turned::Full);
        drop(one);
        assert!(admission.admit(address(2)).is_ok());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = admission(9, Some(1));
        let one = admission.admit(address(1)).unwrap();
        assert_eq!(
            admission.admit(address(1)).unwrap_err(),
            Turned::AddressFull
        );
        assert!(admission.admit(address(2)).is_ok());
        assert!(admission.admit(None).is_ok());
        let _trusted = [(); 3].map(|()| admission.admit(address(99)).unwrap());
        drop(one);
        assert!(admission.admit(address(1)).is_ok());
        assert_eq!(admission.live(), 3);
        assert!(admission.addresses().is_empty());
    }
}
