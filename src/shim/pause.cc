// kedge-pause: what the sandbox image of a bundle runs: the process that keeps a pod's namespaces. It waits to be
// ended, and where the pod's containers share its process namespace it is their init, so it reaps whom they leave.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <initializer_list>

int main() {
  sigset_t awaited;
  ::sigemptyset(&awaited);
  for (int number : {SIGINT, SIGTERM, SIGCHLD}) ::sigaddset(&awaited, number);
  ::sigprocmask(SIG_BLOCK, &awaited, nullptr);
  for (;;) {
    const int number = ::sigwaitinfo(&awaited, nullptr);
    if (number == SIGINT || number == SIGTERM) return 0;
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {}
  }
}
