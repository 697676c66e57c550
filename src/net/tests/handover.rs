//! Sockets that outlive their process.

use super::*;
use crate::net::handover::{Legacy, Offer};

#[test]
fn a_successor_serves_on_the_same_sockets_before_the_old_one_drains() {
    let (old, new) = (
        Setup::default().start(),
        Setup {
            workers: 3,
            ..Setup::default()
        }
        .start(),
    );
    let address = old.listen(&spec("web"));
    let unwanted = old.listen(&spec("unwanted"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover");
    assert!(Legacy::take(&path).unwrap().is_none());
    run(async {
        let offer = Offer::open(&path).unwrap();
        let mut kept = Client::to(address).await;
        assert_eq!(status(&kept.get("/").await), 200);
        let taken = offer.taken(&old.listeners, DEADLINE, async || {}, async || {});
        let successor = async {
            // One that dies on the way changes nothing.
            let place = path.clone();
            let failed = tokio::task::spawn_blocking(move || Legacy::take(&place)).await;
            drop(failed.unwrap().unwrap());
            let place = path.clone();
            let legacy = tokio::task::spawn_blocking(move || Legacy::take(&place)).await;
            let legacy = legacy.unwrap().unwrap().unwrap();
            assert_eq!(legacy.sockets(), 4);
            let successor = legacy.pass_to(&new.listeners).unwrap();
            assert_eq!(
                new.listen(&Spec {
                    address,
                    ..spec("web")
                }),
                address
            );
            successor.ready().unwrap();
        };
        let (taken, ()) = tokio::join!(taken, successor);
        taken.unwrap();
        assert_eq!(old.listeners.drain_all(DEADLINE).await, 0);
        assert_eq!(kept.rest().await, "");
        assert!(TcpStream::connect(unwanted).await.is_err());
        for _ in 0..20 {
            let mut client = Client::to(address).await;
            assert_eq!(status(&client.get("/").await), 200);
        }
        assert!(
            Offer::open(&path).is_ok(),
            "the successor offers in its turn"
        );
    });
}
