import assert from 'node:assert/strict'
import test from 'node:test'

import { usualAgents } from '../../server/builds/definition/agents.ts'
import type { NamedHost } from '../../server/builds/definition/agents.ts'
import { checkDefinition } from '../../server/builds/definition/check.ts'
import { describeDefinition } from '../../server/builds/definition/description.ts'
import { contextName, contextNamesOf, filesOf } from '../../server/builds/definition/files.ts'
import { ownImagesOf } from '../../server/builds/definition/own-images.ts'
import { parseDefinition } from '../../server/builds/definition/parse.ts'

// Definition files as the programs read them (pkg/build/types/parser), and what a site refuses.

const head = 'Bootstrap: docker\nFrom: alpine:3.20\n'
const usual = { agents: usualAgents, hasContext: true }

interface Refused {
  readonly name: string
  readonly text: string | Uint8Array
  readonly line: number
  readonly says: RegExp
  readonly hasContext?: boolean
  readonly given?: Readonly<Record<string, string>>
}

const refused: readonly Refused[] = [
  { name: 'nothing', text: '', line: 0, says: /empty/ },
  { name: 'white space', text: '\n \t\n', line: 0, says: /empty/ },
  { name: 'comments', text: '# a\n# b\n', line: 0, says: /empty/ },
  { name: 'an empty section', text: '%help\n', line: 1, says: /nothing above/ },
  { name: 'a zero byte', text: `${head}%post\n a\0b\n`, line: 4, says: /zero byte/ },
  { name: 'a program', text: Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0xff]), line: 0, says: /UTF-8/ },
  { name: 'more than 1 MiB', text: head + '#'.repeat(1024 * 1024), line: 0, says: /1 MiB/ },
  { name: 'a Dockerfile', text: 'FROM alpine\nRUN true\n', line: 1, says: /Dockerfile/ },
  { name: 'prose', text: '\nPlease build me\n', line: 2, says: /no header/ },
  { name: 'an unknown header', text: `${head}Frob: 1\n`, line: 3, says: /no header "frob"/ },
  { name: 'no bootstrap', text: 'From: alpine\n', line: 1, says: /no "Bootstrap:"/ },
  { name: 'a section only', text: '\n%post\n true\n', line: 2, says: /no "Bootstrap:"/ },
  { name: 'a header above it', text: `Stage: one\n${head}`, line: 1, says: /no "Bootstrap:"/ },
  { name: 'no From', text: 'Bootstrap: docker\n', line: 1, says: /needs a header "From:"/ },
  { name: 'an empty From', text: 'Bootstrap: docker\nFrom: # x\n', line: 1, says: /"From:"/ },
  { name: 'a large letter', text: 'Bootstrap: Docker\nFrom: a\n', line: 1, says: /write "docker"/ },
  {
    name: 'an unknown agent',
    text: 'Bootstrap: pip\nFrom: a\n',
    line: 1,
    says: /no bootstrap agent/,
  },
  {
    name: 'an agent that is off',
    text: 'Bootstrap: yum\n',
    line: 1,
    says: /cannot begin with "yum"/,
  },
  { name: 'the daemon', text: 'Bootstrap: docker-daemon\nFrom: a\n', line: 1, says: /machine/ },
  {
    name: 'an archive',
    text: 'Bootstrap: docker-archive\nFrom: /a\n',
    line: 1,
    says: /cannot begin/,
  },
  { name: 'a layout', text: 'Bootstrap: oci\nFrom: /a\n', line: 1, says: /cannot begin/ },
  {
    name: 'an unknown agent with its arguments',
    text: 'Bootstrap: {{ A }}\nFrom: x\n%arguments\nA=docker-daemon\n',
    line: 1,
    says: /machine/,
  },
  { name: 'an unknown section', text: `${head}%pots\n`, line: 3, says: /no section "%pots"/ },
  { name: 'a section with a tab', text: `${head}%post\t-c sh\n`, line: 3, says: /goes a space/ },
  {
    name: 'an indented section',
    text: `${head} %post\n`,
    line: 3,
    says: /begin the line with "%post"/,
  },
  { name: 'a percent sign in a script', text: `${head}%post\n%d\n`, line: 4, says: /percent sign/ },
  { name: 'an app without a name', text: `${head}%appinstall\n`, line: 3, says: /name of an app/ },
  { name: 'an app that climbs', text: `${head}%apprun ../../x\n`, line: 3, says: /name of an app/ },
  {
    name: 'a section of 64 KiB',
    text: `${head}%post\n${' a\n'.repeat(22000)}`,
    line: 3,
    says: /64 KiB/,
  },
  {
    name: 'a value that ends nowhere',
    text: 'Bootstrap: docker\nFrom: a\\\n',
    line: 2,
    says: /backslash/,
  },
  { name: 'a value into a comment', text: `From: a\\\n# x\n${head}`, line: 1, says: /backslash/ },
  {
    name: 'a stage that is not there',
    text: `${head}%files from b\n a b\n`,
    line: 3,
    says: /stage "b"/,
  },
  { name: 'its own stage', text: `${head}Stage: b\n%files from b\n`, line: 4, says: /before this/ },
  {
    name: 'a later stage',
    text: `${head}%files from b\n${head}Stage: b\n`,
    line: 3,
    says: /before this/,
  },
  { name: 'three words', text: `${head}%files from a b\n`, line: 3, says: /copy nothing/ },
  { name: 'two spaces', text: `${head}%files  \n /a\n`, line: 3, says: /copy nothing/ },
  {
    name: 'a file without context',
    text: `${head}%files\n /etc/passwd\n`,
    line: 4,
    says: /not sent/,
    hasContext: false,
  },
  {
    name: 'an app file without context',
    text: `${head}%appfiles a\n x\n`,
    line: 4,
    says: /not sent/,
    hasContext: false,
  },
  {
    name: 'a shell in a source',
    text: `${head}%files\n $(id) /b\n`,
    line: 4,
    says: /signs of the shell/,
  },
  {
    name: 'a variable in a source',
    text: `${head}%files\n $HOME/x /b\n`,
    line: 4,
    says: /variables/,
  },
  { name: 'an option for a source', text: `${head}%files\n -t /b\n`, line: 4, says: /option/ },
  {
    name: 'a source of one quotation mark',
    text: `${head}%files\n "\n`,
    line: 4,
    says: /no file named/,
  },
  {
    name: 'an image of the builder',
    text: 'Bootstrap: localimage\nFrom: /a.sif\n',
    line: 2,
    says: /sent along/,
    hasContext: false,
  },
  {
    name: 'an image with a scheme',
    text: 'Bootstrap: localimage\nFrom: file:///a\n',
    line: 2,
    says: /no file/,
  },
  {
    name: 'a mirror of the builder',
    text: 'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: file:///x\n',
    line: 3,
    says: /http/,
  },
  {
    name: 'a mirror that is a path',
    text: 'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: /x\n',
    line: 3,
    says: /http/,
  },
  {
    name: 'no mirror',
    text: 'Bootstrap: debootstrap\nOSVersion: sid\n',
    line: 1,
    says: /"MirrorURL:"/,
  },
  {
    name: 'a version with a path',
    text: 'Bootstrap: debootstrap\nOSVersion: ../x\nMirrorURL: http://a/\n',
    line: 2,
    says: /version/,
  },
  {
    name: 'a version that is an option',
    text: 'Bootstrap: debootstrap\nOSVersion: --x\nMirrorURL: http://a/\n',
    line: 2,
    says: /version/,
  },
  {
    name: 'packages that are options',
    text: 'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://a/\nInclude: -x\n',
    line: 4,
    says: /packages/,
  },
  {
    name: 'a library that is a file',
    text: 'Bootstrap: library\nLibrary: file:///x\nFrom: a\n',
    line: 2,
    says: /http/,
  },
  ...[
    'docker-archive:/x',
    'oci:/x',
    'file:///x',
    '/x',
    './x',
    '../x',
    'a//b',
    'http://a/b',
    '-x',
    'a b',
    'docker://a',
  ].map((from) => ({
    name: `docker from ${from}`,
    text: `Bootstrap: docker\nFrom: ${from}\n`,
    line: 2,
    says: /no image of a registry/,
  })),
  {
    name: 'a registry that climbs',
    text: 'Bootstrap: docker\nRegistry: ..\nFrom: a\n',
    line: 3,
    says: /no image/,
  },
  {
    name: 'a library path that climbs',
    text: 'Bootstrap: library\nFrom: library://a/../b\n',
    line: 2,
    says: /no image of a library/,
  },
  {
    name: 'an argument without a value',
    text: `${head}%post\n echo {{ X }}\n`,
    line: 4,
    says: /"X" has no value/,
  },
  {
    name: 'an argument over two lines',
    text: `${head}%arguments\nX=1\n%post\n{{\nX}}\n`,
    line: 6,
    says: /one line/,
  },
  {
    name: 'an argument that nobody uses',
    text: head,
    given: { X: '1' },
    line: 0,
    says: /does not use.*"X"/,
  },
  {
    name: 'an argument of two lines',
    text: `${head}%post\n{{X}}\n`,
    given: { X: '1\n%setup' },
    line: 0,
    says: /one line/,
  },
  {
    name: 'an argument with an odd name',
    text: head,
    given: { 'a-b': '1' },
    line: 0,
    says: /name of a build argument/,
  },
  {
    name: 'a source from an argument',
    text: 'Bootstrap: docker\nFrom: {{ F }}\n%arguments\nF=/etc\n',
    line: 2,
    says: /"\/etc"/,
  },
  {
    name: 'arguments that grow',
    text: `${head}%arguments\nX=${'x'.repeat(60000)}\n%post\n${'{{X}}\n'.repeat(100)}`,
    line: 22,
    says: /larger than 1 MiB/,
  },
  { name: 'many stages', text: head.repeat(60), line: 0, says: /50 stages/ },
  {
    name: 'a stage inside a script',
    text: `${head}%post\ncat <<E\nBootstrap: docker-daemon\nE\n`,
    line: 5,
    says: /machine/,
  },
]

for (const { name, text, line, says, hasContext = true, given } of refused) {
  test(`refused with its line: ${name}`, () => {
    const problems = checkDefinition(parseDefinition(text, given), {
      agents: usualAgents,
      hasContext,
    })
    const found = problems.find(({ message }) => says.test(message))
    assert.ok(found !== undefined, JSON.stringify(problems))
    assert.equal(found.line, line)
    assert.match(found.message, /^\S.*\.$/s)
  })
}

const taken: readonly {
  readonly name: string
  readonly text: string
  readonly given?: Record<string, string>
}[] = [
  { name: 'the least', text: head },
  { name: 'without an end of line', text: 'Bootstrap: docker\nFrom: alpine' },
  { name: 'with carriage returns', text: `${head}%post\n true\n`.replaceAll('\n', '\r\n') },
  { name: 'comments and blank lines', text: `# a\n\n#b: c\n${head}# d\n\n%post # e\n # f\n` },
  { name: 'any case', text: 'BootStrap: docker\nFROM: alpine\n%POST\n true\n' },
  { name: 'a comment behind a value', text: 'Bootstrap: docker # x\nFrom: alpine # y\n' },
  {
    name: 'a continued value',
    text: 'Bootstrap: docker\nFrom: registry.example.org/\\\n  a/b:1\n',
  },
  { name: 'two percent signs', text: `${head}%%post\n true\n` },
  { name: 'a shell of its own', text: `${head}%post -c /bin/bash -e\n true\n` },
  { name: 'library, plain', text: 'Bootstrap: library\nFrom: alpine:latest\n' },
  { name: 'library, opaque', text: 'Bootstrap: library\nFrom: library:a/b/c:1\n' },
  {
    name: 'library with a host',
    text: 'Bootstrap: library\nFrom: library://lib.example.org/a/b/c:1\n',
  },
  { name: 'library by hash', text: `Bootstrap: library\nFrom: a/b/c:sha256.${'0'.repeat(64)}\n` },
  {
    name: 'a port and a digest',
    text: `Bootstrap: docker\nFrom: h.example:5000/a@sha256:${'0'.repeat(64)}\n`,
  },
  {
    name: 'registry and namespace',
    text: 'Bootstrap: docker\nRegistry: r.example\nNamespace: n\nFrom: a:1\n',
  },
  { name: 'oras', text: 'Bootstrap: oras\nFrom: r.example/a:1\n' },
  { name: 'scratch', text: 'Bootstrap: scratch\n%setup\n true\n' },
  {
    name: 'debootstrap',
    text: 'Bootstrap: debootstrap\nOSVersion: bookworm\nMirrorURL: http://deb.example/debian/\nInclude: curl, git\n',
  },
  { name: 'localimage', text: 'Bootstrap: localimage\nFrom: ./a b.sif\n' },
  {
    name: 'apps',
    text: `${head}%appinstall foo\n true\n%apprun foo\n true\n%appfiles foo\n a b\n`,
  },
  { name: 'stages', text: `${head}Stage: b\n%files\n a /b\n${head}%files from b # x\n /b /c\n` },
  {
    name: 'arguments',
    text: `Bootstrap: docker\nFrom: alpine:{{ V }}\n%arguments\n V=3\n%post\n echo {{V}}\n`,
  },
  {
    name: 'a given argument',
    text: 'Bootstrap: docker\nFrom: alpine:{{ V }}\n',
    given: { V: '3.20' },
  },
  { name: 'templates of others', text: `${head}%post\n echo '{{.Names}}' '{{ a.b }}' # {{ X }}\n` },
]

for (const { name, text, given } of taken) {
  test(`taken: ${name}`, () => {
    assert.deepEqual(checkDefinition(parseDefinition(text, given), usual), [])
  })
}

test('stages, headers and sections have the numbers of their lines', () => {
  const { stages, faults } = parseDefinition(
    `# top\n${head}Stage: build\n\n%post -c sh\n true\n%POST\n false\n${head}%labels\n A b\n`,
  )
  assert.deepEqual(faults, [])
  assert.deepEqual(
    stages.map(({ line, headers, sections }) => ({
      line,
      headers: [...headers].map(([name, { value, line }]) => `${line} ${name}=${value}`),
      sections: sections.map(({ name, argument, line, body }) => ({ name, argument, line, body })),
    })),
    [
      {
        line: 2,
        headers: ['2 bootstrap=docker', '3 from=alpine:3.20', '4 stage=build'],
        sections: [
          { name: 'post', argument: '-c sh', line: 6, body: [' true'] },
          { name: 'post', argument: '', line: 8, body: [' false'] },
        ],
      },
      {
        line: 10,
        headers: ['10 bootstrap=docker', '11 from=alpine:3.20'],
        sections: [{ name: 'labels', argument: '', line: 12, body: [' A b', ''] }],
      },
    ],
  )
})

test('arguments: what was given comes before what the stage says, and each stage has its own', () => {
  const text = `Bootstrap: docker\nFrom: {{ F }}\n%arguments\nF={{ G }}:1\nG=a\n#F=c\n${head}%post\n{{G}} #!{{G}} # {{G}}\n`
  const { stages, faults } = parseDefinition(text, { G: 'b' })
  assert.deepEqual(faults, [])
  assert.equal(stages[0]?.headers.get('from')?.value, 'b:1')
  assert.deepEqual(stages[1]?.sections[0]?.body, ['b #!b # {{G}}', ''])
})

test('a value that looks like a header begins no stage', () => {
  const text = `${head}%arguments\nX=Bootstrap: scratch\n%post\n{{X}}\n%files\n a\n`
  const { stages, faults } = parseDefinition(text)
  assert.deepEqual(faults, [])
  assert.deepEqual(
    stages.map(({ sections }) => sections.map(({ name }) => name)),
    [['arguments', 'post', 'files']],
  )
})

test('%files: words, quotation marks, sections of one origin, apps', () => {
  const files = filesOf(
    parseDefinition(
      `${head}Stage: s\n%files\n  a\n# c\n  b /c d\n "x y" "/p q"\n%files from s\n/o\n%files\n\t/e\t/f\n%appfiles z\n m n o # p\n`,
    ),
  )
  assert.deepEqual(files, [
    {
      args: '',
      files: [
        { source: 'a', destination: '', line: 5 },
        { source: 'b', destination: '/c', line: 7 },
        { source: 'x y', destination: '/p q', line: 8 },
        { source: '/e', destination: '/f', line: 12 },
      ],
    },
    { args: 'from s', files: [{ source: '/o', destination: '', line: 10 }] },
  ])
})

test('names in a context: from the root, cleaned, with images to begin from', () => {
  const definition = parseDefinition(
    `Bootstrap: localimage\nFrom: base.sif\n%files\n ../b/*.txt /x\n /c/ /y\n%appfiles z\n m\n%files from q\n /no\n`,
  )
  assert.deepEqual(contextNamesOf(definition, '/home/u'), [
    { name: 'home/u/base.sif', line: 2 },
    { name: 'home/b/*.txt', line: 4 },
    { name: 'c', line: 5 },
    { name: 'home/u/m', line: 7 },
  ])
  assert.equal(contextName('../../../..', '/a'), '')
  assert.equal(contextName('x', 'b'), 'b/x')
})

test('hosts that a site does not let builds reach', () => {
  const check = (text: string): readonly string[] =>
    checkDefinition(parseDefinition(text), {
      ...usual,
      allowsHost: ({ host }) => host === 'ok.example',
    }).map(({ line, message }) => `${line} ${/reach ([^ ,]+?)[:,] /.exec(message)?.[1]}`)
  assert.deepEqual(check('Bootstrap: docker\nFrom: ok.example/a/b\n'), [])
  for (const from of ['alpine', 'a/alpine', 'docker.io/a/alpine', 'index.docker.io/alpine:3']) {
    assert.deepEqual(check(`Bootstrap: docker\nFrom: ${from}\n`), ['2 registry-1.docker.io'])
  }
  assert.deepEqual(check('Bootstrap: docker\nFrom: 10.0.0.5:2375/x\n'), ['2 10.0.0.5:2375'])
  assert.deepEqual(check('Bootstrap: docker\nRegistry: LOCALHOST\nFrom: x\n'), ['3 localhost'])
  assert.deepEqual(check('Bootstrap: library\nFrom: a/b/c\n'), [])
  assert.deepEqual(check('Bootstrap: library\nFrom: library://h.example/a/b/c\n'), ['2 h.example'])
  assert.deepEqual(check('Bootstrap: library\nLibrary: https://l.example\nFrom: a\n'), [
    '2 l.example',
  ])
  const mirror = (url: string): string =>
    `Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: ${url}\nUpdateURL: http://ok.example/u\n`
  assert.deepEqual(check(mirror('http://ok.example/debian')), [])
  assert.deepEqual(check(mirror('http://m.example:8080/%{OSVERSION}')), ['3 m.example:8080'])
})

test('what is compared with the list: an address has the port of its scheme', () => {
  const seen: string[] = []
  const definition = parseDefinition(
    'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://a.example/\nUpdateURL: https://b.example:8443/\n',
  )
  const allowsHost = ({ service, host, defaultPort }: NamedHost): boolean =>
    seen.push(`${service} ${host} ${defaultPort}`) > 0
  assert.deepEqual(checkDefinition(definition, { ...usual, allowsHost }), [])
  assert.deepEqual(seen, ['files a.example 80', 'files b.example:8443 443'])
})

test("images of the endpoint's own, in all their spellings", () => {
  const own = { library: 'lib.example', registry: 'reg.example:5000' }
  const image = (bootstrap: string, ...headers: readonly string[]): string | undefined => {
    const text = [`Bootstrap: ${bootstrap}`, ...headers, ''].join('\n')
    const [found] = ownImagesOf(parseDefinition(text), own)
    return found && `${found.service} ${found.reference} ${found.line}`
  }
  assert.equal(image('library', 'From: alpine'), 'library alpine 2')
  assert.equal(image('library', 'From: library:a/b/c:1'), 'library a/b/c:1 2')
  assert.equal(image('library', 'From: library://a/b/c:1'), 'library a/b/c:1 2')
  assert.equal(image('library', 'From: library://lib.example/a/b/c:1'), 'library a/b/c:1 2')
  assert.equal(image('library', 'From: library://other.example/a/b/c:1'), undefined)
  assert.equal(image('library', 'Library: https://lib.example/', 'From: a/b/c'), 'library a/b/c 3')
  assert.equal(image('library', 'Library: https://other.example', 'From: a/b/c'), undefined)
  assert.equal(image('docker', 'From: alpine'), undefined)
  assert.equal(image('docker', 'From: reg.example:5000/a/b:1'), 'registry a/b:1 2')
  assert.equal(image('docker', 'Registry: reg.example:5000', 'From: a/b'), 'registry a/b 3')
  assert.equal(image('oras', 'From: reg.example:5000/a/b/c:1'), 'registry a/b/c:1 2')
  assert.equal(image('oras', 'From: reg.example/a/b/c:1'), undefined)
  assert.equal(image('localimage', 'From: a.sif'), undefined)
})

test('a definition as an object: files of the submitter, scripts in the order they are run in', () => {
  const text = `${head}%files\n /a /b\n c\n%files from x\n d /e\n%post\n one\n\n%post\n two\n`
  const { buildData, header } = describeDefinition(parseDefinition(text))
  assert.deepEqual(header, { bootstrap: 'docker', from: 'alpine:3.20' })
  assert.deepEqual(buildData.files, { '/a': '/b', c: '' })
  assert.equal(buildData.buildScripts.post, ' one\n two\n')
  assert.deepEqual(describeDefinition(parseDefinition('')).header, { bootstrap: '', from: '' })
})

test('the text has the values in their places, and every line keeps its number', () => {
  const text = [
    '# {{ not a place',
    '',
    'Bootstrap: docker',
    'From: {{ HOST }}/a:{{V}}',
    '%arguments',
    ' V=1',
    '%post',
    ' echo {{ V }} # {{ V }}',
    'Bootstrap: scratch',
    '%files',
    ' {{ HOST }}/x /y',
    '',
  ]
  const parsed = parseDefinition(text.join('\r\n'), { HOST: 'h.example', V: '2' })
  assert.deepEqual(parsed.faults, [])
  const expected = text.map((line, index) => {
    if (index === 7) return ' echo 2 # {{ V }}'
    return line.replace('{{ HOST }}', 'h.example').replace('{{V}}', '2')
  })
  assert.equal(parsed.text, expected.join('\r\n'))
  assert.equal(parseDefinition('Bootstrap: docker\nFrom: {{ X }}\n').text, '')
})
