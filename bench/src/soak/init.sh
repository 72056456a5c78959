#!/bin/sh
# The first program of the guest: four writers, each in a quarter of the disk, which say on the console how far they are:
#   SOAK|writer|round|ok      or bad, if what is read is not what was written
# In each round a writer writes one of its sixteen slots, reads that back, and reads another one that it wrote before.

/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s /bin
export PATH=/bin
for module in $(cat /modules/list); do insmod "/modules/$module"; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 600 ]; do tries=$((tries + 1)); usleep 100000; done

slot_sum() { # checksum of slot $1 as the disk has it; 256 KiB
    dd if=/dev/vda bs=64k skip=$(($1 * 4)) count=4 iflag=direct 2>/dev/null | md5sum
}

writer() {
    round=0
    while true; do
        round=$((round + 1))
        slot=$(($1 * 16 + round % 16))
        other=$(($1 * 16 + round * 7 % 16))
        dd if=/dev/urandom of="/tmp/data.$1" bs=64k count=4 2>/dev/null
        sum=$(md5sum <"/tmp/data.$1")
        case $((round % 3)) in 0) size=4k count=64 ;; 1) size=16k count=16 ;; *) size=64k count=4 ;; esac
        dd if="/tmp/data.$1" of=/dev/vda bs=$size count=$count seek=$((slot * count)) oflag=direct conv=notrunc,fsync 2>/dev/null ||
            { echo "SOAK|$1|$round|bad: a write failed"; continue; }
        echo "$sum" >"/tmp/sum.$slot"
        result=ok
        [ "$(slot_sum $slot)" = "$sum" ] || result="bad: slot $slot, just written"
        if [ -e "/tmp/sum.$other" ]; then
            [ "$(slot_sum $other)" = "$(cat "/tmp/sum.$other")" ] || result="bad: slot $other, written before"
        fi
        echo "SOAK|$1|$round|$result"
    done
}

for number in 0 1 2 3; do writer $number & done
wait
