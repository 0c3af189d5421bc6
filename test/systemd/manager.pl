# A service manager in small: manager.pl NOTIFY-SOCKET UNIX-SOCKET PORT COMMAND [ARGUMENT...]
#
# Listens on 127.0.0.1:PORT and on UNIX-SOCKET without ever accepting, starts COMMAND with both as
# systemd does (sd_listen_fds(3)), and prints what it is told on NOTIFY-SOCKET (sd_notify(3)). A line
# on standard input: "restart" ends COMMAND and starts it again; the end of input ends both.
use strict;
use warnings;
use POSIX ();
use Socket;

$| = 1;
my ($notify_path, $unix_path, $port, @command) = @ARGV;

socket(my $notify, AF_UNIX, SOCK_DGRAM, 0) or die "notify: $!";
bind($notify, pack_sockaddr_un($notify_path)) or die "notify: $!";
socket(my $tcp, AF_INET, SOCK_STREAM, 0) or die "tcp: $!";
setsockopt($tcp, SOL_SOCKET, SO_REUSEADDR, 1);
bind($tcp, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die "tcp: $!";
listen($tcp, 4096) or die "tcp: $!";
socket(my $unix, AF_UNIX, SOCK_STREAM, 0) or die "unix: $!";
bind($unix, pack_sockaddr_un($unix_path)) or die "unix: $!";
listen($unix, 4096) or die "unix: $!";

my $child;

sub start {
  $child = fork() // die "fork: $!";
  return print "started $child\n" if $child;
  # Out of the way first: any of the three may have the number of another.
  POSIX::dup2(fileno($tcp), 100);
  POSIX::dup2(fileno($unix), 101);
  POSIX::dup2(100 + $_, 3 + $_) for 0, 1;
  POSIX::close($_) for 5 .. 110;
  @ENV{qw(LISTEN_PID LISTEN_FDS LISTEN_FDNAMES)} = ($$, 2, 'berth.socket:berth.socket');
  @ENV{qw(NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC)} = ($notify_path, $$, 300_000);
  exec { $command[0] } @command or die "$command[0]: $!";
}

sub stop {
  kill 'TERM', $child;
  hear(0.1) while waitpid($child, POSIX::WNOHANG()) == 0;
  print "ended $?\n";
}

# Prints what is told within so many seconds; undef waits for standard input too, and says whether it came.
sub hear {
  my ($seconds) = @_;
  my $bits = '';
  vec($bits, fileno($notify), 1) = 1;
  vec($bits, fileno(STDIN), 1) = 1 unless defined $seconds;
  select($bits, undef, undef, $seconds);
  if (vec($bits, fileno($notify), 1)) {
    recv($notify, my $message, 4096, 0);
    print 'told ', join(' ', map { "[$_]" } split(/\n/, $message)), "\n";
  }
  return vec($bits, fileno(STDIN), 1);
}

start();
while (1) {
  next unless hear(undef);
  my $length = sysread(STDIN, my $line, 100) // 0;
  stop();
  last if $length == 0;
  start();
}
