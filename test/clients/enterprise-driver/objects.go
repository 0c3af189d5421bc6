package main

type enveloped[T any] struct {
	Data *T `json:"data"`
}

type version struct {
	Version string `json:"version"`
}

type entity struct {
	CreatedAt      string `json:"createdAt,omitempty"`
	DefaultPrivate bool   `json:"defaultPrivate,omitempty"`
	ID             string `json:"id,omitempty"`
	Name           string `json:"name"`
	Owner          string `json:"owner,omitempty"`
	UpdatedAt      string `json:"updatedAt,omitempty"`
}

type collection struct {
	Containers []string `json:"containers"`
	Entity     string   `json:"entity,omitempty"`
	EntityName string   `json:"entityName,omitempty"`
	ID         string   `json:"id,omitempty"`
	Name       string   `json:"name"`
}

type container struct {
	ArchTags       map[string]map[string]string `json:"archTags,omitempty"`
	Collection     string                       `json:"collection,omitempty"`
	CollectionName string                       `json:"collectionName,omitempty"`
	CreatedAt      string                       `json:"createdAt,omitempty"`
	Deleted        bool                         `json:"deleted,omitempty"`
	Description    string                       `json:"description,omitempty"`
	DownloadCount  int64                        `json:"downloadCount,omitempty"`
	Entity         string                       `json:"entity,omitempty"`
	EntityName     string                       `json:"entityName,omitempty"`
	ID             string                       `json:"id,omitempty"`
	ImageTags      map[string]string            `json:"imageTags,omitempty"`
	Images         []string                     `json:"images"`
	Name           string                       `json:"name"`
	Size           int64                        `json:"size,omitempty"`
	UpdatedAt      string                       `json:"updatedAt,omitempty"`
}

type image struct {
	Arch           string   `json:"arch,omitempty"`
	Collection     string   `json:"collection,omitempty"`
	CollectionName string   `json:"collectionName,omitempty"`
	Container      string   `json:"container,omitempty"`
	ContainerName  string   `json:"containerName,omitempty"`
	Deleted        bool     `json:"deleted,omitempty"`
	Description    string   `json:"description,omitempty"`
	Encrypted      bool     `json:"encrypted,omitempty"`
	Entity         string   `json:"entity,omitempty"`
	EntityName     string   `json:"entityName,omitempty"`
	Hash           string   `json:"hash,omitempty"`
	ID             string   `json:"id"`
	Signed         bool     `json:"signed,omitempty"`
	Size           int64    `json:"size,omitempty"`
	Tags           []string `json:"tags"`
	Uploaded       bool     `json:"uploaded,omitempty"`
}

type token struct {
	Expiration string `json:"expiration,omitempty"`
	ID         string `json:"id,omitempty"`
	IsRevoked  bool   `json:"isRevoked,omitempty"`
	IssuedAt   string `json:"issuedAt,omitempty"`
	Label      string `json:"label,omitempty"`
	RevokedAt  string `json:"revokedAt,omitempty"`
	Subject    string `json:"subject,omitempty"`
}

type quotas struct {
	MaxBuildTime           float64 `json:"maxBuildTime,omitempty"`
	MaxBuildTimeCumulative float64 `json:"maxBuildTimeCumulative,omitempty"`
	MaxLibrarySize         float64 `json:"maxLibrarySize,omitempty"`
}

type user struct {
	Active          bool     `json:"active,omitempty"`
	AllRoles        []string `json:"allRoles"`
	CreatedAt       string   `json:"createdAt,omitempty"`
	DeactivatedAt   string   `json:"deactivatedAt,omitempty"`
	Email           string   `json:"email,omitempty"`
	FullName        string   `json:"fullName,omitempty"`
	Groups          []string `json:"groups"`
	ID              string   `json:"id,omitempty"`
	OrganizationIDs []string `json:"organizationIDs"`
	Provider        string   `json:"provider,omitempty"`
	ProviderID      string   `json:"providerID,omitempty"`
	Quotas          *quotas  `json:"quotas,omitempty"`
	Roles           []string `json:"roles"`
	Username        string   `json:"username,omitempty"`
}
