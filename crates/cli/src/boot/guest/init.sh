#!/bin/sh
# The first program of the guest. The kernel command line says what it does: ringwright.check=NONCE runs the checks and
# powers off; otherwise a shell runs on the virtio console and the guest powers off when it ends. The shell's `poweroff`,
# `halt` and `reboot` are signals to this program.
#
# A check writes one line to the boot console:   RINGWRIGHT|device|check|result|what was seen
# Results are ok, fail and absent (this kernel has no driver for the device, or the driver cannot do that). Where the
# kernel has no console, the boot console is the kernel's log.

/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox --install -s /bin
[ -t 1 ] || exec </dev/null >/dev/kmsg 2>&1
export PATH=/bin HOME=/ TERM="${TERM:-vt100}" PS1='ringwright:\w# '

load() { # the modules of list $1
    for module in $(cat "/modules/$1"); do
        insmod "/modules/$module" || echo "insmod $module failed"
    done
}

load drivers

option() { # value of the kernel command line's option $1
    for word in $(cat /proc/cmdline); do
        case $word in "$1"=*) echo "${word#*=}" ;; esac
    done
}

# The number is the urgency, for the log.
report() { echo "<2>RINGWRIGHT|$1|$2|$3|$4"; }

virtio() { # sysfs folder of the virtio device with id $1
    for folder in /sys/bus/virtio/devices/*; do
        [ -e "$folder/device" ] && [ $(($(cat "$folder/device"))) -eq "$1" ] && echo "$folder" && return
    done
    return 1
}

# $1 name, $2 device id: reports how the kernel drives it; fails if there is nothing to check.
present() {
    folder=$(virtio "$2") || { report "$1" driver fail "the guest sees no device with id $2"; return 1; }
    driver=$(basename "$(readlink "$folder/driver" 2>/dev/null)" 2>/dev/null)
    [ -n "$driver" ] || { report "$1" driver absent "this kernel has no driver for it"; return 1; }
    ring=split
    [ "$(cut -c35 "$folder/features")" = 1 ] && ring=packed
    report "$1" driver ok "$driver"
    report "$1" ring ok "$ring"
    interface=legacy
    [ "$(cut -c33 "$folder/features")" = 1 ] && interface=modern
    report "$1" interface ok "$interface"
    case $(readlink -f "$folder") in
    */pci*) report "$1" bus ok pci ;;
    *virtio*mmio*) report "$1" bus ok mmio ;;
    esac
    lines=$(grep "$(basename "$folder")" /proc/interrupts)
    case $lines in
    *PCI-MSI*) interrupts=message ;;
    *) interrupts=wire ;;
    esac
    report "$1" interrupts ok "$interrupts"
    iommu=none
    case $(cat "$folder/../iommu_group/type" 2>/dev/null) in DMA*) iommu=translated ;; esac
    report "$1" iommu ok "$iommu"
}

check_block() {
    present block 2 || return
    tail=$(($(cat /sys/block/vda/size) - 8))
    seen=$(dd if=/dev/vda bs=512 skip="$tail" count=1 2>/dev/null | head -c "${#nonce}")
    [ "$seen" = "$nonce" ] && result=ok || result=fail
    report block "host's mark read" $result "$seen"
    echo "guest-$nonce" | dd of=/dev/vda bs=512 seek=$((tail + 1)) conv=sync,fsync 2>/dev/null
    # 200 MiB, so that the marks at the end of the disk stay.
    mkfs=$(/e2fsprogs/ld.so --library-path /e2fsprogs/lib /e2fsprogs/mke2fs -q -F -t ext4 /dev/vda 200M 2>&1) ||
        { report block "mkfs.ext4" fail "$mkfs"; return; }
    mount -t ext4 /dev/vda /mnt || { report block mount fail "mount: $?"; return; }
    dd if=/dev/urandom of=/tmp/chunk bs=1M count=8 2>/dev/null
    parts=$(seq "$(option ringwright.parts)")
    for part in $parts; do
        # Every chunk differs, so that a write that lands in the wrong place is seen.
        echo "$part $nonce" | dd of=/tmp/chunk conv=notrunc 2>/dev/null
        md5sum </tmp/chunk
        cp /tmp/chunk "/mnt/$part"
    done >/tmp/sums
    umount /mnt || { report block umount fail "umount: $?"; return; }
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 -o ro /dev/vda /mnt || { report block remount fail "mount: $?"; return; }
    for part in $parts; do md5sum <"/mnt/$part"; done >/tmp/sums2
    bytes=$(cat /mnt/* 2>/dev/null | wc -c)
    umount /mnt
    { cmp -s /tmp/sums /tmp/sums2 && [ "$bytes" -ge 8000000 ]; } && result=ok || result=fail
    report block "written on ext4, remounted, verified" $result "$bytes bytes"
    rm -f /tmp/chunk
}

check_entropy() {
    present entropy 4 || return
    source=$(cat /sys/class/misc/hw_random/rng_current 2>/dev/null)
    first=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | md5sum | cut -c1-16)
    second=$(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | md5sum | cut -c1-16)
    empty=$(md5sum </dev/null | cut -c1-16)
    case $source in virtio_rng*) result=ok ;; *) result=fail ;; esac
    { [ "$first" = "$second" ] || [ "$first" = "$empty" ] || [ "$second" = "$empty" ]; } && result=fail
    report entropy "two reads of 1 KiB from $source differ" $result "$first $second"
}

check_network() {
    present network 1 || return
    card=$(ls "$folder/net" | head -n 1)
    ip addr add 10.0.2.15/24 dev "$card" && ip link set "$card" up
    seen=$(ping -c 3 -W 10 10.0.2.2 2>&1 | grep received)
    case $seen in "3 packets transmitted, 3 packets received"*) result=ok ;; *) result=fail ;; esac
    report network "ping the host" $result "$seen"
    dd if=/dev/urandom of=/tmp/out bs=1024 count=1024 2>/dev/null
    timeout 60 nc 10.0.2.2 7 </tmp/out >/tmp/in 2>/dev/null
    cmp -s /tmp/out /tmp/in && result=ok || result=fail
    report network "1 MiB echoed by the host over TCP" $result "$(wc -c </tmp/in) bytes came back"
}

check_console() {
    present console 3 || return
    [ -c /dev/hvc0 ] || { report console port fail "no /dev/hvc0"; return; }
    # Linux has a worker give the terminal its size after the first open, and forgets it with the last close: it is held
    # open, and asked until it knows.
    exec 3<>/dev/hvc0
    for attempt in $(seq 100); do
        seen=$(stty size <&3 2>&1 | tr ' ' ,)
        [ "$seen" = "$(option ringwright.size)" ] && result=ok && break
        result=fail
        sleep 0.1
    done
    # Older kernels do not read the size before they are told that it has changed.
    case $result/$(uname -r) in fail/[1-5].* | fail/6.[0-9].* | fail/6.1[01].*) result=absent ;; esac
    report console "size of the terminal" $result "$seen"
    stty raw -echo <&3 2>/dev/null
    echo "guest says $nonce" >&3
    seen=$(timeout 20 head -n 1 <&3)
    exec 3>&-
    [ "$seen" = "host says $nonce" ] && result=ok || result=fail
    report console "a line to the host and one back" $result "$seen"
}

nonce=$(option ringwright.check)
if [ -n "$nonce" ]; then
    load filesystems
    report guest kernel ok "$(uname -srm)"
    for device in $(option ringwright.devices | tr , ' '); do "check_$device"; done
    report guest end ok "$(cut -d' ' -f1 /proc/uptime) s after boot"
elif [ -c /dev/hvc0 ]; then
    card=$(ls /sys/class/net | grep -v -e lo -e sit | head -n 1)
    [ -n "$card" ] && ip addr add 10.0.2.15/24 dev "$card" && ip link set "$card" up
    # It takes longer than all else, and few need it at once.
    load filesystems &
    trap 'poweroff -f' USR1 USR2
    trap 'reboot -f' TERM
    # The first setsid makes a group leader of the second, which then forks: so the shell runs beside this program. It is
    # not started with &, because then Ctrl-C would be ignored by everything in it.
    setsid setsid -c sh -c 'sh -l; poweroff' 0<>/dev/hvc0 1>&0 2>&0
    tail -f /dev/null &
    wait
fi
sync
poweroff -f
