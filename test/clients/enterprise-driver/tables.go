package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// column of a table; those that are not short are shown in long tables and csv only.
type column[T any] struct {
	title string
	cell  func(T) string
	shown shown
}

type shown int

const (
	everywhere shown = iota
	shortOnly
	longOnly
)

func show[T any](output string, rows []T, columns []column[T]) error {
	switch output {
	case "json":
		text, err := json.MarshalIndent(rows, "", "  ")
		if err == nil {
			os.Stdout.Write(text)
		}
		return err
	case "csv":
		out := csv.NewWriter(os.Stdout)
		for _, line := range lines(rows, columns, shortOnly) {
			if err := out.Write(line); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
	hidden := longOnly
	if output == "long" {
		hidden = shortOnly
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	for i, line := range lines(rows, columns, hidden) {
		// The last header ends its line without a tab, so that it does not widen its column.
		end := "\t\n"
		if i == 0 {
			end = "\n"
		}
		fmt.Fprint(out, strings.Join(line, "\t")+end)
	}
	return out.Flush()
}

func lines[T any](rows []T, columns []column[T], hidden shown) [][]string {
	table := make([][]string, len(rows)+1)
	for _, one := range columns {
		if one.shown == hidden {
			continue
		}
		table[0] = append(table[0], one.title)
		for i, row := range rows {
			table[i+1] = append(table[i+1], one.cell(row))
		}
	}
	return table
}

var entityColumns = []column[entity]{
	{"ID", func(e entity) string { return e.ID }, everywhere},
	{"Name", func(e entity) string { return e.Name }, everywhere},
	{"Owner", func(e entity) string { return e.Owner }, everywhere},
	{"CreatedAt", func(e entity) string { return when(e.CreatedAt) }, longOnly},
	{"UpdatedAt", func(e entity) string { return when(e.UpdatedAt) }, longOnly},
	{"DefaultPrivate", func(e entity) string { return fmt.Sprint(e.DefaultPrivate) }, longOnly},
}

var collectionColumns = []column[collection]{
	{"ID", func(c collection) string { return c.ID }, everywhere},
	{"Name", func(c collection) string { return c.Name }, everywhere},
	{"Entity", func(c collection) string { return c.Entity }, longOnly},
	{"EntityName", func(c collection) string { return c.EntityName }, longOnly},
	{"Num. Containers", func(c collection) string { return fmt.Sprint(len(c.Containers)) }, everywhere},
	{"Containers", func(c collection) string { return fmt.Sprint(c.Containers) }, longOnly},
}

var containerColumns = []column[container]{
	{"ID", func(c container) string { return c.ID }, everywhere},
	{"Name", func(c container) string { return c.Name }, everywhere},
	{"Entity", func(c container) string { return c.Entity }, longOnly},
	{"EntityName", func(c container) string { return c.EntityName }, longOnly},
	{"Collection", func(c container) string { return c.Collection }, longOnly},
	{"CollectionName", func(c container) string { return c.CollectionName }, longOnly},
	{"Description", func(c container) string { return shorten(c.Description) }, everywhere},
	{"Images", func(c container) string { return fmt.Sprint(len(c.Images)) }, everywhere},
	{"Tags", func(c container) string { return fmt.Sprint(len(c.ImageTags)) }, everywhere},
	{"Size", func(c container) string { return size(c.Size) }, everywhere},
	{"DownloadCount", func(c container) string { return fmt.Sprint(c.DownloadCount) }, everywhere},
	{"ImageTags", func(c container) string { return fmt.Sprint(c.ImageTags) }, longOnly},
	{"CreatedAt", func(c container) string { return when(c.CreatedAt) }, longOnly},
	{"UpdatedAt", func(c container) string { return when(c.UpdatedAt) }, longOnly},
	{"Deleted", func(c container) string { return fmt.Sprint(c.Deleted) }, longOnly},
}

var imageColumns = []column[image]{
	{"ID", func(i image) string { return i.ID }, everywhere},
	{"Entity", func(i image) string { return i.Entity }, longOnly},
	{"EntityName", func(i image) string { return i.EntityName }, longOnly},
	{"Collection", func(i image) string { return i.Collection }, longOnly},
	{"CollectionName", func(i image) string { return i.CollectionName }, longOnly},
	{"Container", func(i image) string { return i.Container }, longOnly},
	{"ContainerName", func(i image) string { return i.ContainerName }, longOnly},
	{"Tags", func(i image) string { return fmt.Sprint(i.Tags) }, everywhere},
	{"Arch", func(i image) string { return i.Arch }, everywhere},
	{"Description", func(i image) string { return shorten(i.Description) }, everywhere},
	{"Hash", func(i image) string { return i.Hash }, longOnly},
	{"Size", func(i image) string { return size(i.Size) }, shortOnly},
	{"Signed", func(i image) string { return fmt.Sprint(i.Signed) }, everywhere},
	{"Encrypted", func(i image) string { return fmt.Sprint(i.Encrypted) }, everywhere},
	{"Uploaded", func(i image) string { return fmt.Sprint(i.Uploaded) }, everywhere},
	{"Deleted", func(i image) string { return fmt.Sprint(i.Deleted) }, longOnly},
}

func tokenColumns(nameOf func(string) string) []column[token] {
	return []column[token]{
		{"ID", func(t token) string { return t.ID }, everywhere},
		{"Subject", func(t token) string { return nameOf(t.Subject) }, everywhere},
		{"Label", func(t token) string { return shorten(t.Label) }, everywhere},
		{"IssuedAt", func(t token) string { return when(t.IssuedAt) }, longOnly},
		{"Expiration", func(t token) string { return when(t.Expiration) }, everywhere},
		{"IsRevoked", func(t token) string { return fmt.Sprint(t.IsRevoked) }, everywhere},
		{"RevokedAt", func(t token) string { return when(t.RevokedAt) }, longOnly},
	}
}

var userColumns = []column[user]{
	{"ID", func(u user) string { return u.ID }, everywhere},
	{"Username", func(u user) string { return u.Username }, everywhere},
	{"Email", func(u user) string { return u.Email }, everywhere},
	{"Provider", func(u user) string { return u.Provider }, everywhere},
	{"ProviderID", func(u user) string { return u.ProviderID }, longOnly},
	{"Active", func(u user) string { return fmt.Sprint(u.Active) }, everywhere},
	{"Groups", func(u user) string { return fmt.Sprint(u.Groups) }, everywhere},
	{"Roles", func(u user) string { return fmt.Sprint(u.Roles) }, longOnly},
	{"AllRoles", func(u user) string { return fmt.Sprint(u.AllRoles) }, everywhere},
	// Without quotas the plugin crashes here, and so does this.
	{"Quota.MaxBuildTime", func(u user) string { return seconds(u.Quotas.MaxBuildTime) }, longOnly},
	{"Quota.MaxBuildTimeCumulative", func(u user) string { return seconds(u.Quotas.MaxBuildTimeCumulative) }, longOnly},
	// The plugin takes the figure, which is MiB, for KiB.
	{"Quota.MaxLibrarySize", func(u user) string { return size(int64(u.Quotas.MaxLibrarySize * 1024)) }, longOnly},
	{"CreatedAt", func(u user) string { return when(u.CreatedAt) }, longOnly},
	{"DeactivatedAt", func(u user) string { return when(u.DeactivatedAt) }, longOnly},
}

func seconds(value float64) string {
	return fmt.Sprintf("%.0f", value)
}

func size(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%5d B", bytes)
	}
	value, unit := float64(bytes)/1024, 0
	for value >= 1024 && unit < 5 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%5.1f %ciB", value, "KMGTPE"[unit])
}

func when(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	if at.IsZero() {
		return ""
	}
	return at.Local().String()
}

func shorten(text string) string {
	if len(text) > 50 {
		return text[:46] + "..."
	}
	return text
}
