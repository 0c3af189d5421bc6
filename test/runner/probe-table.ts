/**
 * What hostile definitions try, by the ids of the threat model (B1 to B13). An attack is a script for
 * bash, with perl for single system calls, that exits with 0 exactly when it has come through.
 */
export interface Probe {
  readonly name: string
  readonly attack: string
  /** It has to succeed on the host, outside of the sandbox: so it is known to be able to. */
  readonly worksOutside: boolean
}

/** Where the test's own canaries are; variables of the attacks' shell. */
export interface ProbeTargets {
  readonly CANARY_FILE: string
  readonly CANARY_TEXT: string
  readonly RUNNER_SCRATCH: string
  readonly HOST_ADDRESS: string
  readonly HOST_PORT: string
  readonly UDP_PORT: string
  readonly HOST_SOCKET: string
  readonly ABSTRACT_SOCKET: string
  readonly DATABASE_SOCKET: string
  readonly MIRROR: string
  readonly DOOR: string
}

const outside = (name: string, attack: string): Probe => ({ name, attack, worksOutside: true })
const inside = (name: string, attack: string): Probe => ({ name, attack, worksOutside: false })

const tcp = (host: string, port: string): string => `exec 9<>/dev/tcp/${host}/${port}`
/** By perl: connects a unix socket; the name of an abstract one begins with @, and
 * Node 20 fills it up with zeros. */
const unix = (path: string): string =>
  `perl -MSocket -e '$p = shift; $p =~ s/^\\@/\\0/; socket(S, AF_UNIX, SOCK_STREAM, 0) or exit 1; connect(S, pack_sockaddr_un($p)) or connect(S, pack("Sa108", 1, $p)) or exit 1' "${path}"`
/** A system call of x86-64 (or of arm64) by number; comes through when it does not fail. */
const call = (x64: number, arm64: number, args: string): string =>
  `perl -e '$n = \`uname -m\` =~ /x86_64/ ? ${x64} : ${arm64}; $r = syscall($n, ${args}); exit($r == -1 ? 1 : 0)'`
const socket = (family: number, type: number, protocol = 0): string =>
  `perl -e 'socket(S, ${family}, ${type}, ${protocol}) or exit 1'`
/** Asks the proxy for a tunnel; through when it says 200. */
const tunnel = (authority: string): string =>
  `exec 9<>/dev/tcp/\${DOOR/:/\\/}; printf 'CONNECT %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' "${authority}" >&9; read -r -t 5 line <&9; [[ $line == *' 200 '* ]]`
/** Asks for an absolute address; through when the canary's text comes back. */
const fetched = (address: string, more = ''): string =>
  `exec 9<>/dev/tcp/\${DOOR/:/\\/}; printf 'GET %s HTTP/1.1\\r\\n${more}Host: x\\r\\nConnection: close\\r\\n\\r\\n' "${address}" >&9; timeout 5 cat <&9 | grep -a -q "$CANARY_TEXT"`
/** Asks the endpoint behind the door; through when it is not refused. */
const endpoint = (method: string, path: string): string =>
  `exec 9<>/dev/tcp/\${DOOR/:/\\/}; printf '%s %s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' '${method}' '${path}' >&9; read -r -t 5 line <&9; [[ $line != *' 403 '* && $line != *' 400 '* && -n $line ]]`

const files: readonly Probe[] = [
  outside('B1 reads /etc/shadow', 'cat /etc/shadow | grep -q root'),
  outside('B1 reads a file of the host that everybody may read', 'grep -q . "$CANARY_FILE"'),
  inside('B1 reads it by the root of the first process', 'grep -q . "/proc/1/root$CANARY_FILE"'),
  outside(
    'B1 sees the scratch directory of the runner',
    'ls -d "$RUNNER_SCRATCH"/berth-runner-test-*',
  ),
  outside('B1 sees /home', 'ls -d /home'),
  outside('B1 sees /root', 'ls -d /root'),
  outside(
    'B1 sees what services keep',
    'ls /var/lib | grep -v -E "^(apptainer|singularity)$" | grep -q .',
  ),
  outside('B1 sees the machine id', 'test -s /etc/machine-id || test -s /etc/hostname'),
  outside('B1 sees the resolver of the site', 'grep -q ^nameserver /etc/resolv.conf'),
  inside('B1 has a credentials directory', 'test -n "$CREDENTIALS_DIRECTORY"'),
  inside(
    'B1 finds the environment of the runner',
    'grep -a -q "PROBE[_]CANARY=" /proc/[0-9]*/environ',
  ),
  inside(
    'B1 finds the token of the job in a process',
    'grep -a -l -E "[0-9a-f]{64}" /proc/[0-9]*/environ | grep -q .',
  ),
  inside(
    'B1 finds a configuration of the host in an open descriptor',
    'ls -l /proc/[0-9]*/fd | grep -E "runner.toml|job.json|sqlite|/home/"',
  ),
  outside('B1 sees processes of the host', 'test "$(ls -d /proc/[0-9]* | wc -l)" -gt 30'),
  outside('B1 sees the runner', 'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -q "[d]ist/"'),
  inside(
    'B1 reads the memory of the supervisor',
    `unshare --mount sh -c 'umount /proc; cat /proc/2/maps | grep -q . || dd if=/proc/2/mem bs=1 count=1'`,
  ),
  inside(
    'B1 takes the image door of the supervisor',
    `unshare --mount sh -c 'umount /proc; ls -l /proc/2/fd/3 && echo x > /proc/2/fd/3'`,
  ),
  inside(
    'B1 goes by the root of the supervisor',
    `unshare --mount sh -c 'umount /proc; ls -d /proc/1/root/home || touch /proc/2/root/.berth/x'`,
  ),
  outside('B1 sees the hardware', 'ls /sys/class/net | grep -q .'),
  inside(
    'B1 changes how cores of the host are dumped',
    'cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern',
  ),
  inside('B1 pulls the magic request key', 'echo h > /proc/sysrq-trigger'),
  inside('B1 writes to /usr', 'touch /usr/bin/berth-probe'),
  inside('B1 mounts /usr anew for writing', 'mount -o remount,bind,rw /usr'),
  inside(
    'B1 unmounts the walls',
    'unshare --mount sh -c "umount /usr || umount /dev || umount /build || { umount /proc && umount /proc; }"',
  ),
  inside('B1 overlays /etc of the sandbox for others', 'touch /etc/berth-probe'),
  inside('B1 replaces the definition', 'echo > /.berth/definition'),
  inside('B1 replaces the script of the supervisor', 'echo > /.berth/supervise'),
  inside(
    'B2 reads images of the store by an absolute name',
    'ls /var/lib/berth /var/lib/endpoint /srv | grep -q .',
  ),
  inside(
    'B2 finds a docker daemon',
    'test -S /var/run/docker.sock || test -S /run/podman/podman.sock',
  ),
]

const network: readonly Probe[] = [
  outside('B3 reaches a port of the host by loopback', tcp('127.0.0.1', '$HOST_PORT')),
  outside('B3 reaches a port of the host by its address', tcp('$HOST_ADDRESS', '$HOST_PORT')),
  inside('B3 reaches a port of the host by loopback of IPv6', tcp('::1', '$HOST_PORT')),
  outside(
    'B3 reaches a port of the host by UDP',
    'exec 9<>/dev/udp/$HOST_ADDRESS/$UDP_PORT; echo ping >&9; timeout 2 dd bs=99 count=1 <&9 | grep -q pong',
  ),
  outside('B3 reaches a socket of the host by its path', unix('$HOST_SOCKET')),
  outside('B3 reaches an abstract socket of the host', unix('@$ABSTRACT_SOCKET')),
  outside('B3 reaches PostgreSQL', unix('$DATABASE_SOCKET')),
  inside('B3 reaches the metadata service', tcp('169.254.169.254', '80')),
  inside('B3 reaches the metadata service of IPv6', tcp('fd00:ec2::254', '80')),
  inside('B3 reaches a directory', tcp('$HOST_ADDRESS', '389')),
  inside('B3 asks a name server', 'exec 9<>/dev/udp/$HOST_ADDRESS/53 && echo x >&9'),
  inside('B3 resolves a name', 'getent hosts example.org'),
  inside('B3 makes an interface', 'echo 1 > /proc/sys/net/ipv4/ip_forward'),
  inside(
    'B3 opens the network of the first process of the host',
    'nsenter --net=/proc/1/ns/net --user=/proc/1/ns/user true',
  ),
]

/** All of these hosts are on the list of the job: only the check of the address is left. */
const proxy: readonly Probe[] = [
  ...[
    '127.0.0.1:$HOST_PORT',
    'localhost:$HOST_PORT',
    'LOCALHOST.:$HOST_PORT',
    '[::1]:$HOST_PORT',
    '[::ffff:127.0.0.1]:$HOST_PORT',
    '[::ffff:7f00:1]:$HOST_PORT',
    '[64:ff9b::7f00:1]:$HOST_PORT',
    '0x7f.1:$HOST_PORT',
    '0x7f000001:$HOST_PORT',
    '2130706433:$HOST_PORT',
    '017700000001:$HOST_PORT',
    '127.1:$HOST_PORT',
    '0.0.0.0:$HOST_PORT',
    '[::]:$HOST_PORT',
    '$HOST_ADDRESS:$HOST_PORT',
    '169.254.169.254:80',
    '[fd00:ec2::254]:80',
    '10.0.0.5:2375',
    'user@127.0.0.1:$HOST_PORT',
  ].map((authority) => inside(`B4 tunnels to ${authority}`, tunnel(authority))),
  inside('B4 tunnels to a host that is not on the list', tunnel('example.org:443')),
  inside('B4 tunnels to a port that is not on the list', tunnel('127.0.0.1:22')),
  inside('B4 fetches from loopback', fetched('http://127.0.0.1:$HOST_PORT/')),
  inside('B4 fetches by an odd spelling', fetched('http://0x7f.1:$HOST_PORT/')),
  inside('B4 fetches with credentials in the address', fetched('http://x:y@127.0.0.1:$HOST_PORT/')),
  inside(
    'B4 fetches with the host of another header',
    fetched('http://$MIRROR/', 'X-Forwarded-Host: 127.0.0.1\\r\\n'),
  ),
  inside('B4 fetches by another scheme', fetched('file://$CANARY_FILE')),
  inside(
    'B4 fetches by a redirect of an allowed host',
    `location=$(exec 9<>/dev/tcp/\${DOOR/:/\\/}; printf 'GET http://%s/redirect HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' "$MIRROR" >&9; timeout 5 cat <&9 | tr -d '\\r' | sed -n 's/^location: //Ip'); [ -n "$location" ] && ${fetched('$location')}`,
  ),
  inside(
    'B4 smuggles a second request behind the first',
    `exec 9<>/dev/tcp/\${DOOR/:/\\/}; printf 'POST http://%s/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET http://127.0.0.1:%s/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' "$MIRROR" "$HOST_PORT" >&9; timeout 3 cat <&9 | grep -a -q "$CANARY_TEXT"`,
  ),
  inside('B4 pushes by the endpoint', endpoint('POST', '/v2/alice/demo/x/blobs/uploads/')),
  inside('B4 deletes by the endpoint', endpoint('DELETE', '/v2/alice/demo/x/manifests/v1')),
  inside('B4 makes a token by the endpoint', endpoint('POST', '/api/v1/tokens')),
  inside('B4 lists tokens by the endpoint', endpoint('GET', '/api/v1/tokens')),
  inside(
    'B4 reads the API by a path that climbs',
    endpoint('GET', '/v1/images/../../api/v1/tokens'),
  ),
  inside(
    'B4 reads the API by an encoded path that climbs',
    endpoint('GET', '/v1/images/%2e%2e/%2e%2e/api/v1/tokens'),
  ),
  inside('B4 reads the API by two slashes', endpoint('GET', '//api/v1/tokens')),
  inside('B4 speaks as a runner by the endpoint', endpoint('GET', '/v1/runner/job')),
  inside('B4 submits a build by the endpoint', endpoint('POST', '/v1/build')),
]

const kernel: readonly Probe[] = [
  inside('B10 mounts by FUSE', 'exec 9<>/dev/fuse'),
  inside('B10 takes a loop device', 'ls /dev/loop* || mknod /build/tmp/loop b 7 0'),
  inside('B10 makes a device of memory', 'mknod /build/tmp/mem c 1 1 && head -c 1 /build/tmp/mem'),
  inside(
    'B10 sees the caches of other builds',
    'ls -d /tmp/berth* || ls -d /var/tmp/berth* || ls -d /dev/shm/*',
  ),
  inside(
    'B11 mounts a disk',
    'for disk in vda sda nvme0n1 loop0; do mount -t ext4 /dev/$disk /build/tmp && exit 0; done; exit 1',
  ),
  inside('B11 mounts sysfs', 'unshare --mount mount -t sysfs sysfs /build/tmp'),
  inside('B11 makes a network of its own', 'unshare --user --map-root-user --net true'),
  inside('B1 reads memory of the kernel', 'head -c 1 /proc/kcore | grep -q .'),
  inside('B11 mounts debugfs', 'mount -t debugfs debugfs /build/tmp'),
  inside(
    'B11 mounts control groups',
    'unshare --mount --cgroup mount -t cgroup2 cgroup /build/tmp || mount -t cgroup -o memory memory /build/tmp',
  ),
  inside(
    'B11 mounts /usr anew in a namespace of its own',
    'unshare --user --map-root-user --mount mount -o remount,bind,rw /usr',
  ),
  inside(
    'B11 unmounts in a namespace of its own',
    'unshare --user --map-root-user --mount umount /usr',
  ),
  inside(
    'B11 leaves by chroot and open descriptors',
    `perl -e 'mkdir "/build/tmp/j"; opendir(D, "/"); chroot("/build/tmp/j") or exit 1; chdir(*D); chdir("..") for 1..64; chroot("."); exit(-e "/home" ? 0 : 1)'`,
  ),
  inside(
    'B11 enters the user namespace of the supervisor',
    'unshare --mount sh -c "umount /proc; nsenter --user=/proc/2/ns/user true"',
  ),
  inside(
    'B11 enters the mounts of the supervisor',
    'unshare --mount sh -c "umount /proc; nsenter --mount=/proc/2/ns/mnt touch /berth-probe"',
  ),
  outside('B11 makes a key', call(248, 217, `my $t = "user", my $d = "berth", my $p = "x", 1, -2`)),
  outside('B11 uses keyrings', call(250, 219, '0, -3, 1')),
  inside(
    'B11 loads a BPF program',
    call(321, 280, `0, my $a = pack("L4", 2, 4, 4, 1) . "\\0" x 112, 128`),
  ),
  inside(
    'B11 opens performance events',
    call(298, 241, `my $a = pack("L2", 1, 112) . "\\0" x 104, 0, -1, -1, 0`),
  ),
  inside('B11 opens userfaultfd', call(323, 282, '1')),
  outside('B11 opens io_uring', call(425, 425, `4, my $a = "\\0" x 120`)),
  outside('B11 traces a process', call(101, 117, '0, 0, 0, 0')),
  outside('B11 reads the log of the kernel', call(103, 116, '10, 0, 0')),
  inside('B11 loads a module', call(175, 105, 'my $m = "x" x 64, 64, my $p = ""')),
  inside('B11 sets the clock', call(227, 112, `0, my $t = pack("q2", time, 0)`)),
  inside(
    'B11 opens a file by its handle',
    call(304, 265, `-100, my $h = pack("L2", 8, 1) . "\\0" x 8, 0`),
  ),
  outside('B11 opens AF_PACKET', socket(17, 3, 768)),
  inside('B11 opens AF_VSOCK', socket(40, 1)),
  inside('B11 opens AF_ALG', socket(38, 5)),
  inside('B11 opens AF_BLUETOOTH', socket(31, 3)),
  inside('B11 opens AF_CAN', socket(29, 3, 1)),
  outside('B11 opens a raw socket', socket(2, 3, 1)),
  outside('B11 opens a raw socket of IPv6', socket(10, 3, 58)),
  inside(
    'B11 gains privileges by a set-uid program',
    'grep -q "^NoNewPrivs:.*0" /proc/self/status',
  ),
  inside('B11 raises its limits', 'ulimit -H -u unlimited'),
  outside(
    'B11 raises its priority',
    `perl -e 'setpriority(0, 0, -10) or exit 1; exit(getpriority(0, 0) == -10 ? 0 : 1)'`,
  ),
  inside('B11 types into a terminal', 'exec 9<>/dev/tty'),
]

export const probes: readonly Probe[] = [...files, ...network, ...proxy, ...kernel]

/** All of them one after the other; a line "PROBE <n> open" or "PROBE <n> closed" for each. */
export function probeScript(targets: ProbeTargets): string {
  const lines = Object.entries(targets).map(([name, value]) => `export ${name}='${value}'`)
  probes.forEach(({ attack }, index) => {
    const encoded = Buffer.from(attack).toString('base64')
    lines.push(
      `if timeout -k 1 8 bash -c "$(echo ${encoded} | base64 -d)" >/dev/null 2>&1 </dev/null; then echo "PROBE ${index} open"; else echo "PROBE ${index} closed"; fi`,
    )
  })
  return `${lines.join('\n')}\n`
}

/** "open" or "closed" by the index of the probe. */
export function readResults(output: string): Map<number, string> {
  const found = output.matchAll(/^PROBE (\d+) (open|closed)$/gm)
  return new Map([...found].map(([, index, result]) => [Number(index), result ?? '']))
}
