//! The lines by which virtual machine monitors get a disk, for --help and the man page.

/// Shown below the options.
pub const LINES: &str = r#"A disk for a virtual machine, once it is served by
`ringwright serve block disk.img --socket /tmp/disk.sock`:

QEMU, which needs shared memory for it; with reconnect-ms it waits for a server that is started anew:

  qemu-system-x86_64 -m 1G -machine q35,memory-backend=mem \
    -object memory-backend-memfd,id=mem,size=1G,share=on \
    -chardev socket,id=disk,path=/tmp/disk.sock,reconnect-ms=1000 \
    -device vhost-user-blk-pci,chardev=disk

QEMU, if --vfio-user was given; the memory need not be shared then, but is better:

  qemu-system-x86_64 -m 1G -machine q35,memory-backend=mem \
    -object memory-backend-memfd,id=mem,size=1G,share=on \
    -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/disk.sock"}}'

User Mode Linux, with virtio_blk built in (or with it as a module in an initrd=):

  linux.uml mem=256M virtio_uml.device=/tmp/disk.sock:2 root=/dev/vda

Cloud Hypervisor; --queues is its num_queues:

  cloud-hypervisor --kernel vmlinux --memory size=1G,shared=on \
    --disk vhost_user=true,socket=/tmp/disk.sock,num_queues=1

crosvm:

  crosvm run --vhost-user block,socket=/tmp/disk.sock vmlinux

libvirt, in the domain; and the server must be one that libvirt's user can connect to:

  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>
  <devices>
    <disk type='vhostuser' device='disk'>
      <driver name='qemu' type='raw' queues='1'/>
      <source type='unix' path='/tmp/disk.sock'>
        <reconnect enabled='yes' timeout='1'/>
      </source>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>

Watched and resized by `ringwright stats /tmp/disk.sock --watch` and `ringwright resize /tmp/disk.sock 2G`."#;

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that --help has to wrap cannot be pasted any more.
    #[test]
    fn no_line_of_a_command_is_wrapped() {
        for line in LINES.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.len() < 100, "{line}");
        }
    }
}
