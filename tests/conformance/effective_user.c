/* Says as whom it runs: its file has the set-user-ID bit, which `allowPrivilegeEscalation: false` shall make mean nothing. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("Effective uid: %d\n", (int)geteuid());
  return 0;
}
