/**
 * The tree as the kernel's own NFS server and Samba show it, by the configuration that slashcloud writes, to the kernel's
 * clients of NFS and SMB, and through the automounter: all under one user-mode kernel.
 */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { ExportingHost, LIMIT, SLASHCLOUD } from "./support/exporting-host.js";
import { cleanUp, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 5 * LIMIT, hookTimeout: 5 * LIMIT });

let host: ExportingHost;

/** Waits until a command succeeds. */
const FUNCTIONS = `
until_so() { local i; for i in $(seq 600); do "$@" && return; sleep 0.1; done; echo "never: $*"; return 1; }
reads() { [ "$(timeout 20 cat "$1" 2> /dev/null)" = "$2" ]; }
held() { [ "$(timeout 20 tail -c +1 /proc/self/fd/$1 2> /dev/null)" = "$2" ]; }
gone() { ! [ -e "$1" ]; }
append() { echo "$2" >> "$1"; sync "$1"; }
names() { (cd "$1" && find . -path ./lost+found -prune -o -printf '%P|%y|%m|%U|%s|%T@|%n|%i|%l\\0' | sort -z | base64); }
hashes() { (cd "$1" && find "\${2:-.}" -type f -readable -print0 | sort -z | xargs -0 md5sum -z | base64); }
up() {
  ${SLASHCLOUD} up --mount /cloud --host h --state /run/state g=/mnt/g.img >> /run/up.log 2>&1 &
  upPid=$!
  until_so [ -d /cloud/h/g/log ] || cat /run/up.log
}
`;

const GUEST = `
truncate -s 32M /mnt/g.img && mke2fs -q -F -t ext4 /mnt/g.img && mkdir /mnt/in && mount -o loop /mnt/g.img /mnt/in
mkdir /mnt/in/log /mnt/in/names /mnt/in/deep && cd /mnt/in
for name in 'with space' 'ümlaut' 日本 a:b dots... 'q"uote' 'back\\slash' $'nl\\n' $'\\x01' .hidden $'caf\\xe9' Case case '#hash' "$(printf 'x%.0s' {1..255})"; do
  printf 'in %s' "$name" > "names/$name"
done
ln -s ../log/syslog names/link; ln names/Case names/hard; mkfifo names/fifo; mknod names/null c 1 3
head -c 1000000 /dev/urandom > deep/big
(umask 077; echo secret > deep/private)
echo first > log/syslog
cd / && sync -f /mnt/in
`;

beforeAll(async () => {
  host = await ExportingHost.start(workFolder("kernel-exports"));
  await host.tell(FUNCTIONS);
  await host.tell(`${GUEST}up`);
  await host.tell(`
${SLASHCLOUD} export nfs --mount /cloud --host h --client 127.0.0.0/8 --install
mkdir -p /run/rpc_pipefs && mount -t rpc_pipefs sunrpc /run/rpc_pipefs
grep -q ' /proc/fs/nfsd ' /proc/mounts || mount -t nfsd nfsd /proc/fs/nfsd
rpcbind -w; rpcinfo -p > /dev/null; sysctl -qp /etc/sysctl.d/60-slashcloud-nfs.conf && exportfs -r && rpc.nfsd -G 10 -L 10 4 && rpc.mountd
mkdir /mnt/v3 /mnt/v4`);
});

afterAll(cleanUp);

test("NFS 3 and 4.2: names, attributes and contents are those of the tree", async () => {
  await host.tell(`
until_so timeout 20 mount -v -t nfs -o vers=3,ro,nolock,actimeo=0,lookupcache=none 127.0.0.1:/cloud /mnt/v3
until_so timeout 20 mount -v -t nfs4 -o vers=4.2,ro,actimeo=0,lookupcache=none 127.0.0.1:/cloud /mnt/v4`);
  const wanted = await host.tell("names /cloud/h/g; hashes /cloud/h/g names");
  for (const version of ["v3", "v4"]) {
    expect(await host.tell(`names /mnt/${version}/h/g; hashes /mnt/${version}/h/g names`), version).toBe(
      wanted,
    );
    expect(await host.tell(`cmp /mnt/${version}/h/g/deep/big /mnt/in/deep/big`)).toBe("");
    expect(await host.tell(`cat /mnt/${version}/h/g/deep/private || true`)).toContain("Permission denied");
  }
});

test("NFS 3 and 4.2: what the guest appends, rotates and deletes is seen, also by those who have the file open", async () => {
  for (const version of ["v3", "v4"]) {
    const log = `/mnt/${version}/h/g/log`;
    await host.tell(`
echo one > /mnt/in/log/a && sync -f /mnt/in && until_so reads ${log}/a one && exec 5< ${log}/a &&
append /mnt/in/log/a two && until_so reads ${log}/a $'one\\ntwo' && until_so held 5 $'one\\ntwo' &&
mv /mnt/in/log/a /mnt/in/log/b && append /mnt/in/log/a new && sync -f /mnt/in &&
until_so reads ${log}/a new && reads ${log}/b $'one\\ntwo' && held 5 $'one\\ntwo' && exec 5<&- &&
rm /mnt/in/log/a /mnt/in/log/b && sync -f /mnt/in && until_so gone ${log}/a && until_so gone ${log}/b`);
  }
});

test("NFS: an open file goes on after slashcloud's server was killed, and after slashcloud was started again", async () => {
  await host.tell(`
exec 6< /mnt/v3/h/g/log/syslog 7< /mnt/v4/h/g/log/syslog && held 6 first && held 7 first &&
for pid in $(pgrep -P $upPid); do kill -KILL $pid; done
append /mnt/in/log/syslog killed
until_so held 6 $'first\\nkilled' && until_so held 7 $'first\\nkilled'`);
  const below = await host.tell(`
kill $upPid; wait $upPid; echo "ended with $?"
append /mnt/in/log/syslog again; up
until_so held 6 $'first\\nkilled\\nagain' && until_so held 7 $'first\\nkilled\\nagain' &&
exec 6<&- 7<&-`);
  expect(below).toContain("ended with 0");
});

test("SMB: the kernel's client sees names, contents and changes through Samba", async () => {
  await host.tell(`
${SLASHCLOUD} export samba --mount /cloud --host h --guest-ok --hosts-allow 127.0.0.1 --install
printf '[global]\\nserver role = standalone server\\ndisable netbios = yes\\nload printers = no\\nrpc start on demand helpers = no\\ninclude = /etc/samba/slashcloud.conf\\n' > /etc/samba/smb.conf
mkdir -p /run/samba && smbd -D
${SLASHCLOUD} export autofs --mount /cloud --host h --directory /smb --protocol cifs --install
options=$(sed -n 's/^h -fstype=cifs,\\(.*\\) :.*/\\1/p' /etc/auto.slashcloud)
mkdir /mnt/cifs; until_so mount -t cifs -o "$options" //h/cloud/h /mnt/cifs`);
  const names = await host.tell("ls /mnt/cifs/g/names");
  for (const name of ["with space", "ümlaut", "日本", ".hidden", "Case", "case", "#hash"].filter(
    (n) => n[0] !== ".",
  ))
    expect(names.split("\n")).toContain(name);
  await host.tell(`
cmp /mnt/cifs/g/deep/big /mnt/in/deep/big && cmp /mnt/cifs/g/names/日本 /mnt/in/names/日本 &&
echo one > /mnt/in/log/a && sync -f /mnt/in && until_so reads /mnt/cifs/g/log/a one &&
append /mnt/in/log/a two && until_so reads /mnt/cifs/g/log/a $'one\\ntwo' &&
mv /mnt/in/log/a /mnt/in/log/b && append /mnt/in/log/a new && sync -f /mnt/in &&
until_so reads /mnt/cifs/g/log/a new && reads /mnt/cifs/g/log/b $'one\\ntwo' &&
rm /mnt/in/log/a && sync -f /mnt/in && until_so gone /mnt/cifs/g/log/a`);
});

test("autofs: a look at a host mounts it, by NFS and by SMB", async () => {
  for (const protocol of ["nfs4", "cifs"]) {
    await host.tell(`
${SLASHCLOUD} export autofs --mount /cloud --host h --directory /auto-${protocol} --protocol ${protocol} --install
setsid automount
until_so reads /auto-${protocol}/h/g/log/syslog $'first\\nkilled\\nagain' &&
grep -q " /auto-${protocol}/h ${protocol} ro,nosuid,nodev,noexec" /proc/mounts
result=$?; umount /auto-${protocol}/h; kill $(pidof automount); until_so eval '! pidof automount > /dev/null'; [ $result = 0 ]`);
  }
});
