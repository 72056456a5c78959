//! What the options of a disk come to.

use ringwright_device::block::backend::Limit;

use super::*;

#[test]
fn limits() {
    assert_eq!(limit(None, None).unwrap(), None);
    let tenth = Limit {
        per_second: 1000,
        burst: 100,
    };
    assert_eq!(limit(Some(1000), None).unwrap(), Some(tenth));
    assert_eq!(limit(Some(1000), Some(7)).unwrap().unwrap().burst, 7);
    for (per_second, burst) in [(Some(0), None), (Some(1), Some(0)), (None, Some(1))] {
        assert!(limit(per_second, burst).is_err());
    }
}

#[test]
fn what_images_may_refer_to() {
    assert_eq!(references("none"), Ok(References::None));
    assert_eq!(references("beside"), Ok(References::Beside));
    assert_eq!(references("any"), Ok(References::Any));
    let folder = References::Within(vec!["./any".into()]);
    assert_eq!(references("./any"), Ok(folder));
    assert!(references("").is_err());
}

#[test]
fn geometries() {
    let expected = block::DiskGeometry {
        cylinders: 1024,
        heads: 16,
        sectors: 63,
    };
    assert_eq!(geometry("1024,16,63"), Ok(expected));
    for wrong in ["", "1,2", "1,2,3,4", "70000,1,1", "1,256,1", "a,b,c"] {
        assert!(geometry(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn zones_as_options() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        block: Block,
    }
    let options = |line: &str| {
        let words = ["ringwright"].into_iter().chain(line.split(' '));
        <Line as clap::Parser>::try_parse_from(words)
            .map_err(anyhow::Error::from)?
            .block
            .options()
    };
    let plain = options("disk.img --cache writethrough --discard ignore --opt-io-size 1M").unwrap();
    assert_eq!(plain.zoned, None);
    assert_eq!((plain.cache, plain.discard), (block::Cache::WriteThrough, false));
    assert_eq!(plain.topology.opt_io_size, 1 << 20);
    let zoned = options("disk.img --zoned host-managed --zone-size 1M --max-open-zones 3").unwrap();
    let zoned = zoned.zoned.unwrap();
    assert_eq!((zoned.zone_size, zoned.max_open), (1 << 20, 3));
    assert_eq!(zoned.state, Some("disk.img.zones".into()));
    assert_eq!(
        options("--memory 1G --zoned host-aware")
            .unwrap()
            .zoned
            .unwrap()
            .state,
        None
    );
    for wrong in [
        "disk.img --zone-size 1M",
        "disk.img --zoned drive-managed",
        "disk.img --opt-io-size 8G",
    ] {
        assert!(options(wrong).is_err(), "{wrong}");
    }
}
