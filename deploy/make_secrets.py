"""Make the secrets that docker-compose.yml names, each in a file of its own under deploy/secrets.

    python3 deploy/make_secrets.py

What is there already stays as it is. Needs nothing but Python. The folder is closed to other users; the files in it
are readable, because a container reads them as a user of its own.
"""

import json
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"


def main(folder: Path) -> int:
    """Write what is missing, and say what was written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    postgres = _kept(folder / "postgres_password", secrets.token_urlsafe(24))
    mongo = _kept(folder / "mongo_password", secrets.token_urlsafe(24))
    credentials = folder / "s3_credentials"
    if not credentials.exists():
        key, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
        _kept(credentials, f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        identity = {
            "name": "genomics",
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        _kept(folder / "s3_identities", json.dumps({"identities": [identity]}, indent=1))
    _kept(folder / "postgres_url", f"postgresql://genomics:{postgres}@postgres:5432/genomics")
    _kept(folder / "mongo_url", f"mongodb://genomics:{mongo}@mongo:27017/zygotrix?authSource=admin")
    return 0


def _kept(file: Path, value: str) -> str:
    """The file's text, after writing it where it is missing."""
    if not file.exists():
        file.write_text(value)
        file.chmod(0o444)
        print(f"made {file}")
    return file.read_text()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
