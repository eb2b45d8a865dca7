"""A MariaDB on a host of its own, as ha_lab has PostgreSQL: it can be killed, restarted and cut off like a machine."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from harness import eventually, run

DATABASE = "kubernetes"


class MariaDb:
    """Written before it answers, not flushed to the disk: killing a process is not a power cut, and a busy disk would take minutes."""

    def __init__(self, lab, host):
        self.lab, self.host, self.process = lab, host, None
        self.folder = tempfile.mkdtemp(prefix="kedge-mariadb-")
        lab.at_end(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        lab.at_end(lambda: self.stop(signal.SIGKILL))
        user = pwd.getpwnam("mysql")  # MariaDB refuses to run as root
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.data, self.socket = os.path.join(self.folder, "data"), os.path.join(self.folder, "socket")
        run("mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=" + self.data, "--tmpdir=" + self.folder, "--skip-test-db",
            "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M", timeout=120)
        self.start()
        self.sql("create user kedge@'%' identified by 'secret'; grant all on *.* to kedge@'%'")

    @property
    def url(self):
        return f"mysql://kedge:secret@tcp({self.host.address}:3306)/{DATABASE}"

    def start(self):
        self.process = self.lab.start("mariadb", self.host.command(
            "mariadbd", "--no-defaults", "--user=mysql", "--datadir=" + self.data, "--tmpdir=" + self.folder, "--port=3306",
            "--bind-address=0.0.0.0", "--socket=" + self.socket, "--skip-name-resolve", "--max-connections=100", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=2"))
        eventually("MariaDB answers", lambda: self.sql("select 1") == "1", timeout=120)

    def client(self, program, *args, input=None):
        return run(program, "--no-defaults", "-uroot", "-S", self.socket, *args, input=input, timeout=120)

    def sql(self, text, database="mysql"):
        return self.client("mariadb", "-BN", "-D", database, "-e", text).strip()

    def cut(self):
        for session in self.sql(f"select id from information_schema.processlist where db = '{DATABASE}'").split():
            subprocess.run(["mariadb", "--no-defaults", "-uroot", "-S", self.socket, "-e", "kill " + session], capture_output=True, check=False)

    def stop(self, number=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def restart(self, number=signal.SIGKILL):
        self.stop(number)
        self.start()
