/**
 * Messages to the service manager that bring descriptors along (sd_pid_notify_with_fds(3)). Node cannot send a descriptor
 * by a datagram, nor can systemd-notify before systemd 254. Perl can, by system calls: Debian's perl-base, which has
 * all that this needs, is on every host.
 */
import { spawn } from "node:child_process";

/** A message: lines of NAME=value, and the descriptor that belongs to it; undefined: none. */
export interface Passed {
  readonly lines: readonly string[];
  readonly descriptor?: number;
}

/** Numbers of sendmsg(2) where pointers have 64 bits: arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h. */
const SENDMSG: Partial<Record<NodeJS.Architecture, number>> = { x64: 46, arm64: 211 };
/** s that the service manager is given to take what was sent. */
const PATIENCE = 30;

/**
 * Arguments: sendmsg's number, the socket, the process that speaks, seconds, and for each message its text and descriptor
 * ("": none). The text is sent with SCM_CREDENTIALS, as it counts only if the main process has sent it, and SCM_RIGHTS
 * (struct msghdr, iovec, cmsghdr and ucred: recvmsg(2), cmsg(3), unix(7)). In the end it waits until all has been taken:
 * BARRIER=1 comes with a pipe's end that the service manager closes then (sd_notify_barrier(3)).
 */
const SCRIPT = `
use strict;
my ($sendmsg, $path, $pid, $seconds, @messages) = @ARGV;
alarm $seconds;
length(pack("P", "")) == 8 or die "this perl is not of 64 bits\\n";
$path =~ s/^@/\\0/;
socket(my $socket, 1, 2, 0) or die "socket: $!\\n";
connect($socket, pack("S a*", 1, $path)) or die "connect: $!\\n";
sub tell_it {
  my ($text, $descriptor) = @_;
  my $control = pack("Q l l l L L x4", 28, 1, 2, $pid, $>, $)+0);
  $control .= pack("Q l l l x4", 20, 1, 1, $descriptor) if $descriptor ne "";
  my $vector = pack("P Q", $text, length $text);
  my $header = pack("Q L x4 P Q P Q l x4", 0, 0, $vector, 1, $control, length $control, 0);
  syscall($sendmsg + 0, fileno($socket), $header, 0x4000) == length $text or die "sendmsg: $!\\n";
}
while (my ($text, $descriptor) = splice(@messages, 0, 2)) { tell_it($text, $descriptor) }
pipe(my $taken, my $end) or die "pipe: $!\\n";
tell_it("BARRIER=1", fileno($end));
close $end;
sysread($taken, my $nothing, 1);
`;

/**
 * Sends messages in the name of this process to a service manager's socket (a path, or "@" and an abstract name); resolves
 * when it has taken them. Rejects with an Error.
 */
export function passDescriptors(socket: string, messages: readonly Passed[]): Promise<void> {
  const sendmsg = SENDMSG[process.arch];
  if (sendmsg === undefined)
    return Promise.reject(
      new Error(`descriptors cannot be passed on this kind of processor (${process.arch})`),
    );
  const descriptors = messages.flatMap(({ descriptor }) => descriptor ?? []);
  const texts = messages.flatMap(({ lines, descriptor }) => [
    lines.join("\n"),
    // As it is inherited: after standard input, output and errors.
    descriptor === undefined ? "" : `${3 + descriptors.indexOf(descriptor)}`,
  ]);
  return new Promise((resolve, reject) => {
    const numbers = [sendmsg, socket, process.pid, PATIENCE].map(String);
    const child = spawn("perl", ["-e", SCRIPT, "--", ...numbers, ...texts], {
      stdio: ["ignore", "ignore", "pipe", ...descriptors],
    });
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    child.on("error", ({ message }) => reject(new Error(message)));
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new Error(`perl: ${said.trim().replace(/\s*\n\s*/g, " ") || signal || `exit code ${code}`}`));
    });
  });
}
