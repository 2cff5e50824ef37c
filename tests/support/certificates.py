"""An authority and certificates of it, made by the openssl program for one test."""

import os
import subprocess

DAYS = "2"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    def __init__(self, folder):
        os.makedirs(folder)
        self.folder = folder
        self.file = os.path.join(folder, "ca.pem")
        self.openssl("req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", DAYS,
                     "-subj", "/CN=test CA")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def certificate(self, name, kind="DNS"):
        """(certificate, key): two PEM files, for a host name or, with kind "IP", an address."""
        self.openssl("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                     f"/CN={name}")
        with open(os.path.join(self.folder, "san"), "w", encoding="utf-8") as file:
            file.write(f"subjectAltName={kind}:{name}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-CAcreateserial", "-out", f"{name}.pem", "-days", DAYS, "-extfile", "san")
        return tuple(os.path.join(self.folder, name + end) for end in (".pem", ".key"))
