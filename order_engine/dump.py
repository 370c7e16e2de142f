"""`order-engine dump` and `restore`: the whole journal as one verifiable file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from engine.config.settings import Settings, read_settings
from engine.kernel.errors import BadDump, BadSettings, NotEmpty, WrongKey
from engine.kernel.text import shown
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.tables import progress

if TYPE_CHECKING:
    from engine.journal.datastore import Datastore
    from engine.proof.checkpoint import PublicKey
    from engine.transfer.dump_format import Header
    from engine.transfer.dump_secrets import Opener, Sealer
    from engine.transfer.dump_vouching import Signing
    from engine.transfer.restoring import Proposal, Restored

Target = Annotated[Path, typer.Argument(metavar="FILE", help="The new file; - is standard output.")]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="The dump; - is standard input.")]
WithSecrets = Annotated[
    bool,
    typer.Option(
        "--with-secrets", help="Include secrets, encrypted for --recipient or --passphrase-file."
    ),
]
WithoutSecrets = Annotated[
    bool, typer.Option("--without-secrets", help="Restore without the dump's secrets.")
]
WithoutPersonal = Annotated[
    bool, typer.Option("--without-personal", help="Leave out names and references of people.")
]
Recipient = Annotated[
    Path | None,
    typer.Option(
        "--recipient",
        metavar="PEM",
        help="Public X25519 key to encrypt secrets for.",
        show_default=False,
    ),
]
Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity", metavar="PEM", help="Private X25519 key to decrypt secrets.", show_default=False
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with a passphrase, mode 0600.",
        show_default=False,
    ),
]
Unsigned = Annotated[
    bool, typer.Option("--unsigned", help="Do not sign. `restore` then needs --unsigned too.")
]
AnyDump = Annotated[
    bool,
    typer.Option("--unsigned", help="Restore a dump without a valid signature: it may be forged."),
]
Trust = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="Public keys of trusted signers, as `seal key` printed them.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm the clients and scopes in the dump.")]
NewKey = Annotated[
    bool, typer.Option("--new-key", help="Use another master key: the journal's own is lost.")
]


def dump(
    file: Target,
    *,
    with_secrets: WithSecrets = False,
    recipient: Recipient = None,
    passphrase_file: PassphraseFile = None,
    without_personal: WithoutPersonal = False,
    unsigned: Unsigned = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole journal into one verifiable file.

    Includes the tables beside the journal.

    Every digest is computed again, and the file is signed with the sealing key. Works beside a running
    engine. The format is in docs/dump.md.

    \b
    Examples:
      order-engine dump journal.jsonl
      order-engine dump journal.jsonl --with-secrets --recipient restore-public.pem
      order-engine dump - --without-personal | zstd > journal.jsonl.zst
    """
    if with_secrets == (recipient is None and passphrase_file is None):
        _refuse("--with-secrets goes with --recipient or --passphrase-file: give both or neither")
    if recipient and passphrase_file:
        _refuse("give either --recipient or --passphrase-file")
    if as_json and str(file) == "-":
        _refuse("--json and the dump would both go to standard output: name a file")
    with errors_told(as_json=as_json):
        from importlib import metadata  # noqa: PLC0415

        from engine.installation import opened_datastore  # noqa: PLC0415
        from engine.kernel import wall  # noqa: PLC0415
        from engine.kernel.times import whole_second  # noqa: PLC0415
        from engine.transfer import dumping  # noqa: PLC0415

        sealer = _sealer(recipient, passphrase_file)
        settings = read_settings(data=data, journal_url=journal_url)
        with (
            opened_datastore(settings) as datastore,
            _new_file(file) as out,
            progress("facts", datastore.pages.head().position) as report,
        ):
            signing = None if unsigned else _signing(settings, datastore)
            wanted = dumping.DumpOptions(not without_personal, sealer, signing)
            done = dumping.dump(
                datastore,
                out,
                wanted,
                made_by=f"order-engine {metadata.version('order-engine')}",
                made_at=whole_second(wall.now_us()),
                report=report,
            )
    if as_json:
        print_json(asdict(done))
        return
    typer.echo(f"dumped    {done.facts} facts, {done.rows} rows", err=True)
    typer.echo(f"journal   {done.journal_id}", err=True)
    typer.echo(f"digest    {done.digest or 'none'}", err=True)


def restore(
    file: Source,
    *,
    identity: Identity = None,
    passphrase_file: PassphraseFile = None,
    without_secrets: WithoutSecrets = False,
    new_key: NewKey = False,
    trust: Trust = None,
    unsigned: AnyDump = False,
    yes: Yes = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Recreate a journal from a dump, completely or not at all.

    Every digest is computed again. The target must be empty or missing. Provide the original master key,
    in ORDER_ENGINE_KEY or DIR/master.key: it also authenticates the dump. Without it, --trust the key
    that signed the dump. Clients and their scopes are listed for confirmation; --yes confirms.

    \b
    Examples:
      order-engine restore journal.jsonl --data /var/lib/order-engine --yes
      order-engine restore journal.jsonl --new-key --trust seal.key --data /srv/copy
      order-engine restore journal.jsonl --identity restore.pem --journal-url postgresql://engine@db/orders
      zstd -dc journal.jsonl.zst | order-engine restore - --without-secrets
    """
    if identity and passphrase_file:
        _refuse("give either --identity or --passphrase-file")
    if new_key and (identity or passphrase_file):
        _refuse("secrets cannot be decrypted under a new master key: use --without-secrets")
    with errors_told(as_json=as_json):
        from engine.config.keys import find_key  # noqa: PLC0415
        from engine.installation import make_tables, open_journal_datastore  # noqa: PLC0415
        from engine.transfer import restoring  # noqa: PLC0415
        from engine.transfer.dump_vouching import Vouchers  # noqa: PLC0415

        settings = read_settings(data=data, journal_url=journal_url)
        with _old_file(file) as source:
            reader = restoring.DumpReader(source)
            opener = _opener(reader.header, identity, passphrase_file, is_unwanted=without_secrets)
            _check_key(settings, reader.header, is_new=new_key)
            vouchers = Vouchers(None if new_key else find_key(settings), _trusted(trust))
            accept = partial(_accept, is_any=unsigned, is_confirmed=yes, is_piped=str(file) == "-")
            make_tables(settings)
            with (
                contextlib.closing(open_journal_datastore(settings)) as datastore,
                progress("facts", reader.header.size) as report,
            ):
                done = restoring.restore(
                    datastore, reader, opener, vouchers=vouchers, accept=accept, report=report
                )
    print_json(asdict(done)) if as_json else _print_restored(done)


def _print_restored(done: Restored) -> None:
    typer.echo(f"restored  {done.facts} facts, {done.rows} rows")
    typer.echo(f"journal   {done.journal_id}")
    typer.echo(f"digest    {done.digest}")
    typer.echo(f"vouched   by {done.vouched_by}" if done.vouched_by else f"vouched   {_NOTHING}")
    if done.clients_without_secret:
        typer.echo(
            f"clients without a secret: {done.clients_without_secret}."
            " Create new ones with `order-engine client rotate`."
        )


_NOTHING: Final = "BY NOTHING: its facts, balances and scopes are what its author chose"


def _accept(proposal: Proposal, *, is_any: bool, is_confirmed: bool, is_piped: bool) -> None:
    """Asks for confirmation of a complete dump. Raises BadDump, BadSettings."""
    if proposal.vouched_by is None:
        if not is_any:
            raise BadDump(
                "nothing vouches for this dump: restore the journal's master key, --trust the key that"
                " signed it, or accept an unverified dump with --unsigned"
            )
        typer.echo(f"warning: this dump is vouched for {_NOTHING}", err=True)
    if not proposal.clients or is_confirmed:
        return
    typer.echo("The dump contains these clients:", err=True)
    for client in proposal.clients:
        typer.echo(shown(f"  {client.id}  {client.tenant}  {client.scopes}"), err=True)
    if is_piped or not sys.stdin.isatty():
        raise BadSettings("check the clients and their scopes above, and give --yes if they are right")
    if not typer.confirm("Are these clients and scopes right?", err=True):
        raise BadSettings("nothing was restored")


def _signing(settings: Settings, datastore: Datastore) -> Signing:
    """The journal's own keys. Raises WrongKey."""
    from engine.installation import open_master_key  # noqa: PLC0415
    from engine.journal.schema import check  # noqa: PLC0415
    from engine.proof.checkpoint import origin_of  # noqa: PLC0415
    from engine.proof.sealing_keys import SealingKeys  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415
    from engine.transfer.dump_vouching import Signing  # noqa: PLC0415

    key = open_master_key(settings, datastore)
    with datastore.store.reading() as connection:
        journal_id = check(connection, datastore.tables)["journal_id"]
    keys = SealingKeys(datastore.store, define_operations(), key, origin_of(journal_id))
    return Signing(keys.signer(), key)


def _trusted(path: Path | None) -> list[PublicKey]:
    from engine.kernel.files import read_regular  # noqa: PLC0415
    from engine.kernel.limits import KEY_FILE_BYTES_MAX  # noqa: PLC0415
    from engine.proof.checkpoint import BadNote, read_key  # noqa: PLC0415

    if path is None:
        return []
    lines = read_regular(path, KEY_FILE_BYTES_MAX)[:KEY_FILE_BYTES_MAX].decode(errors="replace").split()
    try:
        return [read_key(line) for line in lines]
    except BadNote as error:
        raise BadSettings(f"{path}: {error}") from None


def _check_key(settings: Settings, header: Header, *, is_new: bool) -> None:
    """Refuses another master key: the idempotency keys of the last day would not be recognised."""
    from engine.config.keys import find_key  # noqa: PLC0415

    key = find_key(settings)
    if is_new or not header.key_fingerprint:
        return
    if key is None:
        raise WrongKey(
            f"{settings.key_file} is missing: restore the journal's master key; if it is lost, --new-key"
            " restores without its secrets"
        )
    key.check(header.key_fingerprint)


def _sealer(recipient: Path | None, passphrase: Path | None) -> Sealer | None:
    from engine.transfer import dump_secrets  # noqa: PLC0415

    if recipient:
        return dump_secrets.for_recipient(recipient)
    return dump_secrets.for_passphrase(passphrase) if passphrase else None


def _opener(
    header: Header, identity: Path | None, passphrase: Path | None, *, is_unwanted: bool
) -> Opener | None:
    from engine.transfer.dump_secrets import Opener  # noqa: PLC0415

    if identity or passphrase:
        return Opener(header, identity=identity, passphrase=passphrase)
    if header.secrets and not is_unwanted:
        raise WrongKey(
            "this dump contains secrets: give --identity, --passphrase-file or --without-secrets"
        )
    return None


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, mode 0600, that appears complete or not at all."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    draft = path.with_name(f"{path.name}.partial")
    try:
        _check_absent(path)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(file, "wb", buffering=1024 * 1024) as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            _check_absent(path)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise BadSettings(f"{path} cannot be written: {error.strerror}") from error


def _check_absent(path: Path) -> None:
    if path.exists():
        raise NotEmpty(f"{path} exists and is not overwritten: name another file")


@contextlib.contextmanager
def _old_file(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    from engine.kernel.files import open_regular  # noqa: PLC0415

    with open_regular(path) as file:
        yield file


def _refuse(message: str) -> None:
    typer.echo(f"error: bad_settings: {message}", err=True)
    raise typer.Exit(2)
