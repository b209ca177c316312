"""How each keyword of OpenSSH's client configuration is taken: honoured, without effect, or refused. docs/ssh.md says it to people."""

from __future__ import annotations


def _keywords(text: str) -> frozenset[str]:
    return frozenset(text.split())


HONOURED = _keywords(
    "hostname port user identityfile certificatefile identitiesonly identityagent proxyjump userknownhostsfile globalknownhostsfile"
    " hostkeyalias addressfamily connecttimeout serveraliveinterval serveralivecountmax ignoreunknown"
)
SEVERAL = frozenset({"identityfile", "certificatefile"})
"""Every value that applies counts; of all others the first."""
LISTS = frozenset({"userknownhostsfile", "globalknownhostsfile"})
"""Take several arguments; the other honoured ones take one."""
ALIASES = {
    "identityfile2": "identityfile",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "smartcarddevice": "pkcs11provider",
    "dsaauthentication": "pubkeyauthentication",
}
WITHOUT_EFFECT = _keywords(
    # ways to log in besides keys, and prompts
    "passwordauthentication kbdinteractiveauthentication challengeresponseauthentication skeyauthentication tisauthentication"
    " kbdinteractivedevices numberofpasswordprompts hostbasedauthentication hostbasedacceptedalgorithms hostbasedkeytypes batchmode"
    " enablesshkeysign rsaauthentication rhostsauthentication rhostsrsaauthentication gssapiauthentication gssapiclientidentity"
    " gssapidelegatecredentials gssapikeyexchange gssapikexalgorithms gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns"
    " kerberosauthentication kerberostgtpassing afstokenpassing addkeystoagent"
    # host keys are pinned whatever these say, and no file is written
    " stricthostkeychecking checkhostip hashknownhosts updatehostkeys nohostauthenticationforlocalhost visualhostkey fingerprinthash"
    " globalknownhostsfile2 userknownhostsfile2"
    # nothing is forwarded, and no terminal is asked for
    " forwardagent forwardx11 forwardx11timeout forwardx11trusted xauthlocation localforward remoteforward dynamicforward gatewayports"
    " exitonforwardfailure clearallforwardings permitremoteopen streamlocalbindmask streamlocalbindunlink requesttty escapechar"
    " enableescapecommandline stdinnull forkafterauthentication proxyusefdpass channeltimeout"
    # only with others that are refused
    " localcommand tunneldevice canonicaldomains canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames tag"
    # logs, packets, environment
    " loglevel logverbose syslogfacility sendenv setenv compression compressionlevel ipqos tcpkeepalive keepalive connectionattempts"
    " rekeylimit obscurekeystroketiming versionaddendum warnweakcrypto protocol cipher useprivilegedport usersh fallbacktorsh"
    " useroaming useblacklistedkeys"
)
_OWN = "leave it out for this host: Sluice offers its own choice, AES-GCM first and nothing with SHA-1"
_CONNECTIONS = "leave it out for this host: Sluice has connections of its own"
REFUSED: dict[str, tuple[frozenset[str], str]] = {
    keyword: (_keywords(harmless), remedy)
    for keyword, harmless, remedy in (
        ("proxycommand", "none", "write ProxyJump, or jump: in the blueprint; Sluice starts no program to connect"),
        ("knownhostscommand", "none", "write UserKnownHostsFile and a file; Sluice starts no program to connect"),
        ("permitlocalcommand", "no", "write no: Sluice starts no program to connect"),
        ("remotecommand", "none", "leave it out for this host: Sluice runs its own command there"),
        ("sessiontype", "default", "leave it out for this host: Sluice runs its own command there"),
        ("tunnel", "no", "write no: Sluice sets up no network devices"),
        ("controlmaster", "no", _CONNECTIONS),
        ("controlpath", "none", _CONNECTIONS),
        ("controlpersist", "no", _CONNECTIONS),
        ("pkcs11provider", "none", "write IdentityAgent, and let an ssh-agent hold the key of the card"),
        ("securitykeyprovider", "internal", "leave it out for this host: a scheduled run has nobody who touches a security key"),
        ("verifyhostkeydns", "no", "write no: Sluice takes host keys from known_hosts files alone"),
        ("revokedhostkeys", "none", "write the keys as @revoked lines into the known_hosts file"),
        ("canonicalizehostname", "no none", "write no, and HostName with the full name"),
        ("bindaddress", "", "leave it out for this host: the system's routes choose the address"),
        ("bindinterface", "", "leave it out for this host: the system's routes choose the interface"),
        ("requiredrsasize", "", "leave it out for this host, and use keys of the size that you require"),
        ("pubkeyauthentication", "yes unbound host-bound", "write yes: Sluice logs in with keys alone"),
        ("ciphers", "", _OWN),
        ("macs", "", _OWN),
        ("kexalgorithms", "", _OWN),
        ("hostkeyalgorithms", "", _OWN),
        ("pubkeyacceptedalgorithms", "", _OWN),
        ("casignaturealgorithms", "", _OWN),
        ("preferredauthentications", "", "name publickey in it: Sluice logs in with keys alone"),
        ("refuseconnection", "", "the file itself refuses this host: name another host, or change the file"),
    )
}
"""Keyword: values that ask for nothing, and the remedy for any other."""
KNOWN = HONOURED | WITHOUT_EFFECT | REFUSED.keys() | {"host", "match", "include"}
MATCH_REFUSED = {
    "exec": "write host, originalhost or user instead: Sluice starts no program to connect",
    "localnetwork": "write host, originalhost or user instead",
    "tagged": "write host, originalhost or user instead",
    "version": "write host, originalhost or user instead",
    "sessiontype": "write host, originalhost or user instead",
    "command": "write host, originalhost or user instead",
}
"""Criteria of a Match line that aren't evaluated."""
