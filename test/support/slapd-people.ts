/** Who is in the test directory. Everybody's password is the login name with "-password" behind it. */
import { trees } from './slapd-config.ts'

export const servicePassword = 'service-secret'
export const serviceDn = (tree: string): string => `cn=berth,${tree}`
export const passwordOf = (name: string): string => `${name}-password`
export const personDn = (name: string): string => `uid=${name},ou=people,${trees.site}`

type Attributes = readonly (readonly [attribute: string, value: string])[]

const past = '20200101000000Z'
const future = '29990101000000Z'
const policy = (name: string): string => `cn=${name},ou=policies,${trees.site}`

/** LDIF of one entry. */
function ldif(dn: string, attributes: Attributes): string {
  return `dn: ${dn}\n${attributes.map(([name, value]) => `${name}: ${value}\n`).join('')}\n`
}

/** Somebody in OpenLDAP's tree. */
function person(name: string, more: Attributes = []): string {
  return ldif(personDn(name), [...personAttributes(name), ...more])
}

export function personAttributes(name: string): Attributes {
  return [
    ['objectClass', 'inetOrgPerson'],
    ['objectClass', 'shadowAccount'],
    ['objectClass', 'posixAccount'],
    ['uid', name],
    ['cn', `${name} of the site`],
    ['sn', name],
    ['mail', `${name}@site.test`],
    ['uidNumber', '1000'],
    ['gidNumber', '1000'],
    ['homeDirectory', `/home/${name}`],
    ['userPassword', passwordOf(name)],
  ]
}

/** OpenLDAP. One of each state that an account or a password can have. */
const sitePeople: readonly string[] = [
  person('alice'),
  person('bob'),
  person('adminlocked', [['pwdAccountLockedTime', '000001010000Z']]),
  person('locked', [['pwdAccountLockedTime', '20260101000000Z']]),
  person('waslocked', [
    ['pwdAccountLockedTime', past],
    ['pwdPolicySubentry', policy('forgiving')],
  ]),
  person('ended', [['pwdEndTime', past]]),
  person('ending', [['pwdEndTime', future]]),
  person('notyet', [['pwdStartTime', future]]),
  person('reset', [['pwdReset', 'TRUE']]),
  person('overdue', [
    ['pwdChangedTime', past],
    ['pwdPolicySubentry', policy('strict')],
  ]),
  person('grace', [
    ['pwdChangedTime', past],
    ['pwdPolicySubentry', policy('graceful')],
  ]),
  person('shadow', [['shadowExpire', '10']]),
  person('noshell', [['loginShell', '/usr/sbin/nologin']]),
  person('left', [['employeeType', 'Left']]),
  person('MixedCase'),
  person('under__score'),
  person('multi', [['uid', 'alias']]),
  person('victim'),
  // Whom wrong passwords do not lock.
  person('patient', [['pwdPolicySubentry', policy('patient')]]),
  person('twin'),
  ldif(`uid=twin,ou=guests,${trees.site}`, personAttributes('twin')),
  ldif(`cn=two names,ou=people,${trees.site}`, [...personAttributes('first'), ['uid', 'second']]),
  // A name with everything that a distinguished name escapes.
  ldif(`cn=Comma\\, Plus\\+ \\"Quote\\",ou=people,${trees.site}`, [
    ...personAttributes('odd').filter(([name]) => name !== 'cn'),
    ['cn', 'Comma, Plus+ "Quote"'],
  ]),
]

function tree(suffix: string, ...units: readonly string[]): string[] {
  const dc = /^dc=(\w+)/.exec(suffix)?.[1] ?? ''
  return [
    ldif(suffix, [
      ['objectClass', 'dcObject'],
      ['objectClass', 'organization'],
      ['dc', dc],
      ['o', dc],
    ]),
    ...units.map((unit) =>
      ldif(`ou=${unit},${suffix}`, [
        ['objectClass', 'organizationalUnit'],
        ['ou', unit],
      ]),
    ),
    ldif(serviceDn(suffix), [
      ['objectClass', 'organizationalRole'],
      ['objectClass', 'simpleSecurityObject'],
      ['cn', 'berth'],
      ['userPassword', servicePassword],
    ]),
  ]
}

function policyEntry(name: string, attributes: Attributes): string {
  return ldif(policy(name), [
    ['objectClass', 'organizationalRole'],
    ['objectClass', 'pwdPolicy'],
    ['cn', name],
    ['pwdAttribute', 'userPassword'],
    ['pwdMustChange', 'TRUE'],
    ['pwdLockout', 'TRUE'],
    ...attributes,
  ])
}

/** A part of the tree that another server has, which is not there. */
const referral = ldif(`ou=elsewhere,${trees.site}`, [
  ['objectClass', 'referral'],
  ['objectClass', 'extensibleObject'],
  ['ou', 'elsewhere'],
  ['ref', `ldap://127.0.0.1:9/ou=elsewhere,${trees.site}`],
])

const noTime = ['pwdLockoutDuration', '0'] as const
const fewFailures = ['pwdMaxFailure', '3'] as const

/** LDIF for `slapadd -n 1`. */
export const siteTree = [
  ...tree(trees.site, 'people', 'guests', 'groups', 'policies'),
  policyEntry('default', [noTime, fewFailures]),
  policyEntry('forgiving', [['pwdLockoutDuration', '1'], fewFailures]),
  policyEntry('patient', []),
  policyEntry('strict', [['pwdMaxAge', '60'], noTime]),
  policyEntry('graceful', [['pwdMaxAge', '60'], ['pwdGraceAuthNLimit', '100'], noTime]),
  referral,
  ...sitePeople,
].join('')

const never = '9223372036854775807'

/** `guid` is 32 hex digits, the bytes as Active Directory stores them. */
function windowsUser(name: string, guid: string, more: Attributes = []): string {
  const own = new Set(more.map(([attribute]) => attribute))
  const usual: Attributes = [
    ['userAccountControl', '512'],
    ['accountExpires', never],
    ['lockoutTime', '0'],
  ]
  return ldif(`cn=${name} Example,ou=people,${trees.windows}`, [
    ['objectClass', 'user'],
    ['objectCategory', 'person'],
    ['cn', `${name} Example`],
    ['sn', name],
    ['displayName', `${name} Example`],
    ['sAMAccountName', name],
    ['objectGUID:', Buffer.from(guid, 'hex').toString('base64')],
    ['mail', `${name}@ad.test`],
    ['userPassword', passwordOf(name)],
    ...usual.filter(([attribute]) => !own.has(attribute)),
    ...more,
  ])
}

/** The bytes of alice's objectGUID, which read 33221100-5544-7766-8899-aabbccddeeff as text. */
const aliceGuid = '00112233445566778899aabbccddeeff'

/** LDIF for `slapadd -n 2`. */
export const windowsTree = [
  ...tree(trees.windows, 'people', 'groups'),
  windowsUser('Alice', aliceGuid),
  windowsUser('Disabled', '0'.repeat(31) + '1', [['userAccountControl', '514']]),
  windowsUser('Expired', '0'.repeat(31) + '2', [['accountExpires', '132223104000000000']]),
  windowsUser('Unlimited', '0'.repeat(31) + '3', [['accountExpires', '0']]),
  windowsUser('Stale', '0'.repeat(31) + '4', [['msDS-User-Account-Control-Computed', '8388608']]),
  windowsUser('Locked', '0'.repeat(31) + '5', [['msDS-User-Account-Control-Computed', '16']]),
  // A computer is an account too.
  windowsUser('HOST$', '0'.repeat(31) + '6').replace(
    'objectCategory: person',
    'objectCategory: computer',
  ),
  // Bytes that read as UTF-8 text.
  windowsUser('Textual', Buffer.from('sixteen letters!').toString('hex')),
].join('')

function ipaUser(name: string, more: Attributes = []): string {
  return ldif(`uid=${name},ou=people,${trees.ipa}`, [
    ['objectClass', 'user'],
    ['uid', name],
    ['cn', `${name} Example`],
    ['sn', name],
    ['mail', `${name}@ipa.test`],
    ['ipaUniqueID', `${name}-unique`],
    ['userPassword', passwordOf(name)],
    ...more,
  ])
}

/** LDIF for `slapadd -n 3`. */
export const ipaTree = [
  ...tree(trees.ipa, 'people', 'groups', 'rules'),
  ipaUser('alice', [
    ['krbPasswordExpiration', future],
    ['nsAccountLock', 'FALSE'],
  ]),
  ipaUser('locked', [['nsAccountLock', 'TRUE']]),
  ipaUser('stale', [['krbPasswordExpiration', past]]),
  ipaUser('expired', [['krbPrincipalExpiration', past]]),
].join('')

export interface Group {
  readonly dn: string
  readonly attributes: Readonly<Record<string, string | string[]>>
}

const groupDn = (name: string, unit = 'groups', suffix: string = trees.site): string =>
  `cn=${name},ou=${unit},${suffix}`

function members(
  name: string,
  member: readonly string[],
  suffix: string = trees.site,
  unit = 'groups',
): Group {
  return {
    dn: groupDn(name, unit, suffix),
    attributes: { objectClass: 'groupOfNames', cn: name, member: [...member] },
  }
}

/** Added to the running server, because only so does it note them in their members. */
export const groups: readonly Group[] = [
  members('climate', [personDn('alice'), personDn('bob')]),
  {
    dn: groupDn('comma\\, plus\\+'),
    attributes: {
      objectClass: 'groupOfNames',
      cn: 'comma, plus+',
      member: [personDn('alice')],
    },
  },
  members('guests', [personDn('alice')], trees.site, 'guests'),
  members('institute', [groupDn('climate'), groupDn('everybody')]),
  // Groups that contain each other.
  members('everybody', [groupDn('institute')]),
  {
    dn: groupDn('unique'),
    attributes: {
      objectClass: 'groupOfUniqueNames',
      cn: 'unique',
      uniqueMember: [personDn('alice')],
    },
  },
  {
    dn: groupDn('posix'),
    attributes: {
      objectClass: 'posixGroup',
      cn: 'posix',
      gidNumber: '7',
      memberUid: ['alice', 'MixedCase'],
    },
  },
  members('domain-people', [`cn=Alice Example,ou=people,${trees.windows}`], trees.windows),
  members('ipausers', [`uid=alice,ou=people,${trees.ipa}`], trees.ipa),
  members('allow-all', [`uid=alice,ou=people,${trees.ipa}`], trees.ipa, 'rules'),
]
