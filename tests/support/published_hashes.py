"""Password hashes as the projects that make them publish them, with their passwords."""

from __future__ import annotations

import json

Vectors = list[tuple[str | bytes, str]]

FIREBASE_KEY = (
    "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
)
FIREBASE_HASH = (
    "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)

# keycloak/keycloak, testsuite/integration-arquillian/tests/base/src/test/resources/migration-test/
# migration-realm-19.0.3.json, offline-test-user.
KEYCLOAK_SECRET = {
    "value": "kNwotFPNeuwelpT1HWt+E4ONXFK6wjd+h0zbzNBRGwOqacAjeY7vYN9QZQ46DlEKSdn04cEU/3RvX8WPcReg"
    "xg==",
    "salt": "rEIJDbs+BQqpx31v8mONWA==",
}
KEYCLOAK_DATA = {
    "hashIterations": 27500,
    "algorithm": "pbkdf2-sha256",
    "additionalParameters": {},
}

PUBLISHED: dict[str, Vectors] = {
    # P-H-C/phc-winner-argon2: src/test.c (version 16, written without it, and 19) and README.md.
    "argon2": [
        (
            "password",
            "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        ),
        (
            "password",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ),
        (
            "password",
            "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        ),
        # libpass, tests of its argon2 hasher.
        (
            "password",
            "$argon2d$v=19$m=102400,t=2,p=8$g2RodLh8j8WbSdCp+lUy/A$zzAJqL/HSjm809PYQu6qkA",
        ),
        # django/django, tests/auth_tests/test_hashers.py, test_argon2.
        (
            "secret",
            (
                "argon2$argon2i$m=8,t=1,p=1$c29tZXNhbHQ$gwQOXSNhxiOxPOA0+PY10P9QFO"
                "4NAYysnqRt1GSQLE55m+2GYDt9FEjPMHhP2Cuf0nOEXXMocVrsJAtNSsKyfg"
            ),
        ),
        (
            "secret",
            "argon2$argon2id$v=19$m=102400,t=2,p=8$Y041dExhNkljRUUy$TMa6A8fPJhCAUXRhJXCXdw",
        ),
        # OpenLDAP puts its scheme in front of PHC strings: servers/slapd/pwmods/argon2.c.
        (
            "password",
            "{ARGON2}$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        ),
    ],
    # pyca/bcrypt, tests/test_bcrypt.py, most of them from Openwall's crypt_blowfish.
    "bcrypt": [
        ("Kk4DQuMMfZL9o", "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"),
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        (b"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
        (
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
            "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
        ),
        # Django writes its own name in front, and OpenLDAP that of crypt(3).
        ("Kk4DQuMMfZL9o", "bcrypt$$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"),
        ("Kk4DQuMMfZL9o", "{CRYPT}$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"),
        ("U*U", "{crypt}$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ],
    # libpass, tests/test_handlers_django.py, django_bcrypt_sha256: Django publishes none itself.
    "bcrypt-sha256": [
        ("lètmein", "bcrypt_sha256$$2a$08$NDjSAIcas.EcoxCRiArvT.MkNiPYVhrsrnJsRkLueZOoV1bsQqlmC"),
        ("", "bcrypt_sha256$$2a$06$/3OeRpbOf8/l6nPPRdZPp.nRiyYqPobEZGdNRBWihQhiFDh1ws1tu"),
    ],
    # Ulrich Drepper, Unix crypt using SHA-256 and SHA-512 (SHA-crypt.txt), its test vectors.
    "sha256-crypt": [
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (
            "Hello world!",
            "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
        ),
        (
            "a short string",
            "$5$rounds=123456$asaltof16chars..$gP3VQ/6X7UUEW3HkBn2w1/Ptq2jxPyzV/cZKmF/wJvD",
        ),
        ("Hello world!", "{CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    ],
    "sha512-crypt": [
        (
            "Hello world!",
            (
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEd"
                "FCoEOfaS35inz1"
            ),
        ),
        (
            "we have a short salt string but not a short password",
            (
                "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeO"
                "xFmtlcGZelFl5CxtgfiAc0"
            ),
        ),
    ],
    "pbkdf2": [
        # passlib, documentation of passlib.hash.pbkdf2_sha256; libpass, tests of its hashers.
        (
            "password",
            "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
        ),
        (
            "password",
            (
                "$pbkdf2-sha512$1212$RHY0Fr3IDMSVO/RSZyb5ow$eNLfBK.eVozomMr.1gYa17k9B7KIK25NOEshvhrSX.es"
                "qY3s.FvWZViXz4KoLlQI.BzY/YTNJOiKc5gBYFYGww"
            ),
        ),
        # The second test vector of RFC 6070 as passlib writes it, and the first PBKDF2 vector of
        # RFC 7914 as a PHC string.
        ("password", "$pbkdf2$2$c2FsdA$6mwBTcctb4zNHtkqzh1B8NjeiVc"),
        (
            "passwd",
            (
                "$pbkdf2-sha256$i=1,l=64$c2FsdA$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkW"
                "ZLOdd+8xfHG4RbHjC9UJESBB06GXgw"
            ),
        ),
    ],
    "django-pbkdf2": [
        # django/django, tests/auth_tests/test_hashers.py, test_pbkdf2.
        (
            "lètmein",
            "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
        ),
        # libpass, tests of django_pbkdf2_sha1.
        ("not a password", "pbkdf2_sha1$10000$wz5B6WkasRoF$atJmJ1o+XfJxKq1+Nu1f1i57Z5I="),
    ],
    # pallets/werkzeug: method, salt and hexadecimal digest; here the vectors of RFC 6070 that its
    # tests/test_security.py had as test_pbkdf2.
    "werkzeug-pbkdf2": [
        ("password", "pbkdf2:sha1:2$salt$ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
        (
            "password",
            "pbkdf2:sha256:2$salt$ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43",
        ),
    ],
    # OpenLDAP, contrib/slapd-modules/passwd/pbkdf2/README, and the vector of werkzeug's
    # test_pbkdf2 for one round of SHA-256.
    "ldap-pbkdf2": [
        ("secret", "{PBKDF2}60000$Y6ZHtTTbeUgpIbIW0QDmDA$j/aU7jFKUSbH4UobNQDm9OEIwuw"),
        ("secret", "{pbkdf2-sha1}60000$Y6ZHtTTbeUgpIbIW0QDmDA$j/aU7jFKUSbH4UobNQDm9OEIwuw"),
        ("password", "{PBKDF2-SHA256}1$c2FsdA$Eg.2z/z4syxD5yJSVsT4N6hlSMkszDVICAWYfLcL4Xs"),
    ],
    # libpass, tests/test_handlers_scrypt.py, after section 12 of RFC 7914.
    "scrypt": [
        (
            "password",
            "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI",
        ),
        (
            "pleaseletmein",
            "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI",
        ),
        ("", "$scrypt$ln=4,r=1,p=1$$d9ZXYjhleyA7GcpCwYoEl/FrSETjB0ro39/6P+3iFEI"),
    ],
    # pallets/werkzeug writes method, N, r and p, salt and hexadecimal digest; here the second test
    # vector of RFC 7914.
    "werkzeug-scrypt": [
        (
            "password",
            (
                "scrypt:1024:8:16$NaCl$fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
            ),
        ),
    ],
    # django/django, tests/auth_tests/test_hashers.py, test_scrypt.
    "django-scrypt": [
        (
            "lètmein",
            (
                "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NY"
                "afTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw=="
            ),
        ),
    ],
    # firebase/scrypt, README.md; the salt also in the alphabet of URLs, as some exports have it.
    "firebase-scrypt": [
        (
            "user1password",
            f"$firebase-scrypt$r=8,m=14,sk={FIREBASE_KEY},ss=Bw==$42xEC+ixf3L2lw==${FIREBASE_HASH}",
        ),
        (
            "user1password",
            f"$firebase-scrypt$m=14,r=8,sk={FIREBASE_KEY},ss=Bw==$42xEC-ixf3L2lw${FIREBASE_HASH}",
        ),
    ],
    # OpenLDAP: doc/guide/admin/security.sdf, contrib/slapd-modules/passwd/sha2/README. Those with
    # SHA-2 and a salt: jsimonetti/pwscheme, ssha256_test.go and ssha512_test.go.
    "ldap": [
        ("secret", "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3"),
        ("secret", "{ssha}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3"),
        ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("secret", "{SMD5}4QWGWZpj9GCmfuqEvm8HtZhZS6E="),
        ("secret", "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ=="),
        ("secret", "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="),
        (
            "secret",
            (
                "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRp"
                "ayrW/isg=="
            ),
        ),
        ("test123", "{SSHA256}czO44OTV17PcF1cRxWrLZLy9xHd7CWyVYplr1rOhuMlx/7IK"),
        (
            "test123",
            (
                "{SSHA512}xPUl/px+1cG55rUH4rzcwxdOIPSB2TingLpiJJumN2xyDWN4Ix1WQG3ihnvHaWUE8MYNkvMi5rf0C9"
                "NYixHsE6Yh59M="
            ),
        ),
        # The digests of "abc" in RFC 1321, RFC 3174 and FIPS 180-2, as hexadecimal digits.
        ("abc", "{MD5}900150983cd24fb0d6963f7d28e17f72"),
        ("abc", "{SHA}A9993E364706816ABA3E25717850C26C9CD0D89D"),
        ("abc", "{sha256}ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abc",
            (
                "{SHA512}ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a"
                "836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
        ),
    ],
    # OpenLDAP, doc/guide/admin/security.sdf; the second also as it stands in /etc/shadow.
    "crypt": [
        ("secret", "{CRYPT}aUihad99hmev6"),
        ("secret", "{crypt}$1$czBJdDqS$TmkzUAb836oMxg/BmIwN.1"),
        ("secret", "$1$czBJdDqS$TmkzUAb836oMxg/BmIwN.1"),
    ],
    # Openwall phpass 0.3, test.php; phpBB's form: John the Ripper, as libpass quotes it.
    "phpass": [
        ("test12345", "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"),
        ("123456", "$H$9PE8jEklgZhgLmZl5.HYJAzfGCQtzi1"),
    ],
    # dotnet/aspnetcore, src/Identity/test/Identity.Test/PasswordHasherTest.cs.
    "aspnet": [
        ("my password", "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=="),
        ("my password", "ANXrDknc7fGPpigibZXXZFMX4aoqz44JveK6jQuwY3eH/UyPhvr5xTPeGYEckLxz9A=="),
        ("my password", "AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M"),
        (
            "my password",
            (
                "AQAAAAEAA9CQAAAAIESkQuj2Du8Y+kbc5lcN/W/3NiAZFEm11P27nrSN5/tId+bR1SwV8CO1Jd72r4C08OLvplN"
                "lCDc3oQZ8efcW+jQ="
            ),
        ),
        ("my password", "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw"),
        (
            "my password",
            (
                "AQAAAAIAAAD6AAAAIJbVi5wbMR+htSfFp8fTw8N8GOS/Sje+S/4YZcgBfU7EQuqv4OkVYmc4VJl9AGZzmRTxSkP"
                "7LtVi9IWyUxX8IAAfZ8v+ZfhjCcudtC1YERSqE1OEdXLW9VukPuJWBBjLuw=="
            ),
        ),
    ],
    "keycloak": [
        # As it stands in an export, both parts being strings, and as objects.
        (
            "password2",
            json.dumps(
                {
                    "id": "b22fe342-e3b6-4e31-a76c-7f7ffdeb83ab",
                    "type": "password",
                    "createdDate": 1570002786025,
                    "secretData": json.dumps(KEYCLOAK_SECRET),
                    "credentialData": json.dumps(KEYCLOAK_DATA),
                }
            ),
        ),
        (
            "password2",
            json.dumps({"secretData": KEYCLOAK_SECRET, "credentialData": KEYCLOAK_DATA}),
        ),
        # The second argon2 vector above, in the parameters that Keycloak writes since version 24.
        (
            "password",
            json.dumps(
                {
                    "secretData": {
                        "value": "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc=",
                        "salt": "c29tZXNhbHQ=",
                    },
                    "credentialData": {
                        "hashIterations": 2,
                        "algorithm": "argon2",
                        "additionalParameters": {
                            "hashLength": ["32"],
                            "memory": ["65536"],
                            "type": ["id"],
                            "version": ["1.3"],
                            "parallelism": ["1"],
                        },
                    },
                }
            ),
        ),
    ],
    # This program's own: the first {SSHA} above. Every later release has to verify it.
    "wrapped": [
        (
            "secret",
            (
                "$usermgr-wrap$digest$d=sha1,s=HVGnNw$argon2id$v=19$m=19456,t=2,p=1$a0xNHNgbu/xKEF+2evbs"
                "Xg$UuaR1Ooyy2mNO8ESo6eJqPIUNZ0LFLMplurQRJTFj7Q"
            ),
        ),
    ],
    "none": [],
}
PUBLISHED_HASHES = [stored for vectors in PUBLISHED.values() for _, stored in vectors]
