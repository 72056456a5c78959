//! Several devices out of one configuration file, each used by a driver of its own at the same time, while nobody reads the
//! log any more.

use std::fs;

use ringwright_driver::Options;
use ringwright_driver::block::Request;
use ringwright_driver::entropy::Entropy;
use ringwright_spec::{block, entropy, feature};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

use crate::support::{Disk, Server, wait};

const CONFIGURATION: &str = r#"
    [[device]]
    type = "block"
    image = "first.img"
    serial = "one"
    socket = "first.sock"

    [[device]]
    type = "block"
    image = "second.img"
    readonly = true
    socket = "second.sock"

    [[device]]
    type = "entropy"
    socket = "entropy.sock"
"#;

#[test]
fn devices_of_one_file_serve_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("devices.toml"), CONFIGURATION).unwrap();
    fs::write(path("first.img"), [1; 8192]).unwrap();
    fs::write(path("second.img"), [2; 4096]).unwrap();
    let mut server = Server::start(folder.path(), "serve --config devices.toml", 3);
    server.close_log();

    let mut first = Disk::connect(&path("first.sock"));
    let mut second = Disk::connect(&path("second.sock"));
    assert!(first.driver.session().has(feature::RING_PACKED));
    let options = FrontendOptions::new(entropy::DEVICE.id);
    let frontend = Frontend::connect(path("entropy.sock"), options).unwrap();
    let area = frontend.area().clone();
    let mut source = Entropy::new(frontend, &area, Options::default()).unwrap();

    assert_eq!(
        (
            first.driver.geometry().capacity,
            second.driver.geometry().capacity
        ),
        (16, 8)
    );
    assert_eq!(first.read(3), Some([1; 512]));
    first.write(3, [7; 512]);
    assert_eq!(second.read(3), Some([2; 512]));
    assert!(second.driver.geometry().read_only);
    assert_eq!((first.read(3), second.read(3)), (Some([7; 512]), Some([2; 512])));
    let buffer = first.buffer(block::ID_BYTES);
    first.submit(Request::get_id(buffer));
    let serial = first.completion().data.into_buffer().unwrap();
    assert_eq!(serial.slices().read_array(0).unwrap(), *b"one\0");

    let random = |driver: &mut Entropy<Frontend>| {
        let buffer = area.allocate(32, 1).unwrap();
        driver.request(buffer).unwrap().unwrap();
        let (buffer, written) = wait(|| driver.poll().unwrap());
        assert_eq!(written, 32);
        buffer.slices().read_array::<32>(0).unwrap()
    };
    assert_ne!(random(&mut source), random(&mut source));
    drop(first);
    assert_eq!(fs::read(path("first.img")).unwrap()[3 * 512..4 * 512], [7; 512]);
}
