/**
 * What the test directory is made of: the configuration of an OpenLDAP server with three trees. The
 * first is OpenLDAP as a site runs it, with groups that show in their members and with a password
 * policy. The other two stand for Active Directory and for FreeIPA: they hold those directories'
 * attributes (under object identifiers of our own) as entries of a real server, so that they travel
 * over a real wire. What those directories compute or decide themselves is not in them.
 */
import type { Certificate } from './certificate-authority.ts'

export const adminPassword = 'admin-secret'

export const trees = {
  site: 'dc=site,dc=test',
  windows: 'dc=ad,dc=test',
  ipa: 'dc=ipa,dc=test',
} as const

export interface SlapdConfig {
  readonly directory: string
  readonly caFile: string
  readonly certificate: Certificate
}

const text = '1.3.6.1.4.1.1466.115.121.1.15'
const integer = '1.3.6.1.4.1.1466.115.121.1.27'
const time = '1.3.6.1.4.1.1466.115.121.1.24'
const octets = '1.3.6.1.4.1.1466.115.121.1.40'

const foreignAttributes: readonly (readonly [name: string, equality: string, syntax: string])[] = [
  ['sAMAccountName', 'caseIgnoreMatch', text],
  ['objectCategory', 'caseIgnoreMatch', text],
  ['objectGUID', 'octetStringMatch', octets],
  ['userAccountControl', 'integerMatch', integer],
  ['msDS-User-Account-Control-Computed', 'integerMatch', integer],
  ['accountExpires', 'integerMatch', integer],
  ['lockoutTime', 'integerMatch', integer],
  ['nsAccountLock', 'caseIgnoreMatch', text],
  ['ipaUniqueID', 'caseIgnoreMatch', text],
  ['krbPasswordExpiration', 'generalizedTimeMatch', time],
  ['krbPrincipalExpiration', 'generalizedTimeMatch', time],
]

/** LDIF for `slapadd -n 0`. */
export function slapdConfig({ directory, caFile, certificate }: SlapdConfig): string {
  return `dn: cn=config
objectClass: olcGlobal
cn: config
olcTLSCACertificateFile: ${caFile}
olcTLSCertificateFile: ${certificate.certificateFile}
olcTLSCertificateKeyFile: ${certificate.keyFile}
olcTLSVerifyClient: never

dn: cn=module{0},cn=config
objectClass: olcModuleList
cn: module{0}
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: ppolicy
olcModuleLoad: memberof

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif
include: file:///etc/ldap/schema/nis.ldif

dn: cn=foreign,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: foreign
${foreignAttributes
  .map(
    ([name, equality, syntax], index) =>
      `olcAttributeTypes: ( 1.3.6.1.4.1.55555.1.${index + 1} NAME '${name}' EQUALITY ${equality} SYNTAX ${syntax} SINGLE-VALUE )`,
  )
  .join('\n')}
olcObjectClasses: ( 1.3.6.1.4.1.55555.2.1 NAME 'user' SUP inetOrgPerson STRUCTURAL MAY ( ${foreignAttributes.map(([name]) => name).join(' $ ')} ) )

dn: olcDatabase={-1}frontend,cn=config
objectClass: olcDatabaseConfig
objectClass: olcFrontendConfig
olcDatabase: {-1}frontend
olcAccess: {0}to attrs=userPassword by anonymous auth by * none
olcAccess: {1}to * by users read by anonymous auth

dn: olcDatabase={0}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {0}config
olcRootDN: cn=admin,cn=config
olcRootPW: ${adminPassword}

${Object.values(trees)
  .map((suffix, index) => database(index + 1, suffix, directory))
  .join('\n')}
dn: olcOverlay={1}ppolicy,olcDatabase={1}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcPPolicyConfig
olcOverlay: {1}ppolicy
olcPPolicyDefault: cn=default,ou=policies,${trees.site}
`
}

/** Where people of a tree are, readable by nobody in particular in FreeIPA's only. */
function database(number: number, suffix: string, directory: string): string {
  const anonymous = suffix === trees.ipa ? 'read' : 'auth'
  return `dn: olcDatabase={${number}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {${number}}mdb
olcDbDirectory: ${directory}/db${number}
olcDbMaxSize: 33554432
olcSuffix: ${suffix}
olcRootDN: cn=admin,${suffix}
olcRootPW: ${adminPassword}
olcAccess: {0}to attrs=userPassword by anonymous auth by self write by * none
olcAccess: {1}to * by users read by anonymous ${anonymous}

dn: olcOverlay={0}memberof,olcDatabase={${number}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcMemberOfConfig
olcOverlay: {0}memberof
olcMemberOfGroupOC: groupOfNames
olcMemberOfMemberAD: member
olcMemberOfMemberOfAD: memberOf
`
}
