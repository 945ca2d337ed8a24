"""DATABASE_URL works as hosted databases hand it out; what cannot work is refused in one line."""

from __future__ import annotations

import pytest

from feedzone.errors import SettingsError
from feedzone.store.engine.server_url import CONNECT_S, ServerUrl, parse_server_url

HOSTED = [
    "postgresql://postgres:p%40ss@db.abc.supabase.co:5432/postgres",
    "postgresql://postgres.abc:pw@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
    "postgres://default:pw@x-pooler.supabase.com:6543/postgres?sslmode=require&supa=base-pooler.x",
    "postgresql://neondb_owner:pw@ep-x.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
    "postgres://u:pw@ep-x.neon.tech/db?sslmode=require&options=endpoint%3Dep-x",
    "postgres://uabc:pabc@ec2-1-2-3-4.compute-1.amazonaws.com:5432/dabc",
    "postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d?sslmode=no-verify",
    "postgres://postgres:pw@my-db.flycast:5432/app?sslmode=disable",
    "postgresql://postgres:pw@containers-us-west-1.railway.app:6789/railway",
    "postgresql://u:p@dpg-x-a.frankfurt-postgres.render.com/d",
    "postgresql://doadmin:pw@db-do-user-1.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
    "postgres://user:pw@mydb.x.eu-west-1.rds.amazonaws.com:5432/app?sslmode=prefer&connect_timeout=10",
    "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write&load_balance_hosts=random",
    "postgres://avnadmin:pw@pg-x.aivencloud.com:12691/defaultdb?sslmode=require&gssencmode=disable",
    "postgresql://u:p@h/db?ssl=true&application_name=feedzone&keepalives=1&keepalives_idle=30",
    "postgresql://u:p@h/db?connection_limit=5&pool_timeout=10&schema=public&sslaccept=strict",
]


@pytest.mark.parametrize("url", HOSTED)
def test_the_urls_of_hosted_databases_are_read(url):
    parsed = parse_server_url(url)
    assert parsed.hosts
    assert parsed.database
    assert parsed.user


def test_all_parts_are_read():
    parsed = parse_server_url(
        "postgres://us%2Fer:p%40s%3As@[::1]:5433,db.example:5434,other/na%20me"
        "?sslmode=require&connect_timeout=7&application_name=app&options=-c%20geqo%3Doff&tcp_user_timeout=9000"
    )
    assert parsed.hosts == (("::1", 5433), ("db.example", 5434), ("other", 5432))
    assert (parsed.user, parsed.password, parsed.database) == ("us/er", "p@s:s", "na me")
    assert parsed.tls == {"sslmode": "require"}
    assert parsed.session == {"application_name": "app", "options": "-c geqo=off"}
    assert (parsed.connect_s, parsed.keepalive["tcp_user_timeout"]) == (7.0, 9000)


def test_parameters_can_name_everything():
    parsed = parse_server_url(
        "postgresql:///?host=/run/pg,/tmp&port=5433,5434&user=u&password=p&dbname=d&sslmode=&passfile=/x"
    )
    assert parsed.hosts == (("/run/pg", 5433), ("/tmp", 5434))
    assert (parsed.user, parsed.password, parsed.database, parsed.passfile) == ("u", "p", "d", "/x")
    assert parsed.tls == {}


def test_an_at_sign_in_the_password_is_understood():
    assert parse_server_url("postgresql://u:p@ss/#@h/d").password == "p@ss/#"


def test_a_url_without_a_host_means_the_local_server():
    assert parse_server_url("postgresql:///feedzone") == ServerUrl((), None, None, "feedzone")
    assert parse_server_url("postgresql:///feedzone").candidates() == [None]


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ("ssl=true", "require"),
        ("ssl=require", "require"),
        ("sslmode=no-verify", "require"),
        ("ssl=0", "disable"),
        ("sslmode=verify-full&ssl=true", "verify-full"),
    ],
)
def test_other_drivers_words_for_tls_mean_the_same(given, mode):
    assert parse_server_url(f"postgresql://h/d?{given}").tls["sslmode"] == mode


@pytest.mark.parametrize(
    "given",
    ["pgbouncer=true", "statement_cache_size=0", "prepared_statement_cache_size=0", "prepareThreshold=0"],
)
def test_a_url_can_say_that_a_pooler_stands_in_between(given):
    assert parse_server_url(f"postgresql://h/d?{given}").has_pooler
    assert not parse_server_url("postgresql://h/d?pgbouncer=false").has_pooler


@pytest.mark.parametrize(
    ("given", "seconds"), [("0", CONNECT_S), ("-1", CONNECT_S), ("0.2", 1.0), ("900", 60.0)]
)
def test_no_connection_is_waited_for_without_a_limit(given, seconds):
    assert parse_server_url(f"postgresql://h/d?connect_timeout={given}").connect_s == seconds


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://h/d?sslmod=require", "unknown parameter 'sslmod'"),
        ("postgresql://h/d?sslmode=yes", "sslmode takes disable, allow"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout takes seconds"),
        ("postgresql://h/d?keepalives_idle=x", "keepalives_idle takes a whole number"),
        ("postgresql://h/d?target_session_attrs=standby", "target_session_attrs takes any, primary"),
        ("postgresql://h:port/d", "the port is no number"),
        ("postgresql://u:secret?word@h/d", "the port is no number"),
        ("postgresql://h:99999/d", "the port is no number"),
        ("postgresql://h/d?sslrootcert=/not/there.pem", "no file /not/there.pem, which sslrootcert names"),
        ("postgresql://h/d?require_auth=md5", "unknown parameter 'require_auth'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(url, says):
    with pytest.raises(SettingsError, match=says) as refusal:
        parse_server_url(url)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_no_password_is_shown():
    assert "canary" not in repr(parse_server_url("postgresql://u:canary@h/d?sslpassword=canary2"))
