import assert from 'node:assert/strict'
import test from 'node:test'

import { insideWorkingDirectory, placeDefinition } from '../../server/runner/definition-places.ts'

const places = {
  workingDir: '/home/alice',
  registryHost: 'registry.site.test:5080',
  libraryUrl: 'https://library.site.test',
  door: '127.0.0.1:3128',
}

function placed(...lines: string[]): string[] {
  return placeDefinition(lines.join('\n'), places).split('\n')
}

test('files of the context get their place, and keep their names', () => {
  for (const [line, expected] of [
    ['  /srv/a /b', '  /build/context/srv/a /b'],
    ['  /srv/a', '  /build/context/srv/a /srv/a'],
    ['/srv/*.txt', '/build/context/srv/*.txt /srv/'],
    ['"/srv/a b" /c', '"/build/context/srv/a b" /c'],
    ['/../../etc/passwd /x', '/build/context/etc/passwd /x'],
    ['relative.txt /x', 'relative.txt /x'],
    ['', ''],
  ] as const) {
    assert.equal(placed('Bootstrap: scratch', '%files', line)[2], expected)
    assert.equal(placed('Bootstrap: scratch', '%appfiles foo', line)[2], expected)
  }
})

test('files of another stage, scripts and documents stay as they are', () => {
  for (const section of ['%files from one', '%post', '%post -c /bin/bash', '%help', '%setup']) {
    const lines = ['Bootstrap: scratch', section, '  /srv/a /b', 'From: registry.site.test:5080/x']
    assert.deepEqual(placed(...lines), lines, section)
  }
})

test('the own library and registry are behind the door', () => {
  for (const [bootstrap, line, expected] of [
    ['docker', 'From: registry.site.test:5080/a/b:c', 'From: 127.0.0.1:3128/a/b:c'],
    ['oras', 'from: //registry.site.test:5080/a/b:c', 'From: 127.0.0.1:3128/a/b:c'],
    ['docker', 'Registry: registry.site.test:5080', 'Registry: 127.0.0.1:3128'],
    ['library', 'Library: https://library.site.test/', 'Library: http://127.0.0.1:3128'],
    ['localimage', 'From: /srv/base.sif', 'From: /build/context/srv/base.sif'],
    ['localimage', 'From: base.sif', 'From: base.sif'],
    ['docker', 'From: docker.io/alpine', 'From: docker.io/alpine'],
    ['docker', 'From: registry.site.test:5080.evil/a', 'From: registry.site.test:5080.evil/a'],
    ['library', 'From: alice/demo/x', 'From: alice/demo/x'],
    ['library', 'From: library://alice/demo/x:1', 'From: library://alice/demo/x:1'],
    ['library', 'From: library://library.site.test/alice/demo/x:1', 'From: alice/demo/x:1'],
    ['library', 'From: //Library.Site.Test/alice/demo/x', 'From: alice/demo/x'],
    [
      'library',
      'From: library://other.test/alice/demo/x',
      'From: library://other.test/alice/demo/x',
    ],
    ['docker', 'From: Registry.Site.Test:5080/a/b:c', 'From: 127.0.0.1:3128/a/b:c'],
  ] as const) {
    assert.equal(placed(`Bootstrap: ${bootstrap}`, line)[1], expected, line)
  }
})

test('a second stage has headers again', () => {
  const lines = placed(
    'Bootstrap: scratch',
    '%post',
    '  x',
    'Bootstrap: localimage',
    'From: /srv/base.sif',
  )
  assert.equal(lines[4], 'From: /build/context/srv/base.sif')
})

test('the working directory is inside the context, whatever it says', () => {
  assert.equal(insideWorkingDirectory('/home/alice'), '/build/context/home/alice')
  assert.equal(insideWorkingDirectory('../../etc'), '/build/context/etc')
  assert.equal(insideWorkingDirectory(''), '/build/context/')
})
