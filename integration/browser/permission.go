package browser

import (
	"fmt"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
)

// Permit answers the browser's question for the artist, by a permission's name in the Permissions API. The page then has the focus, as the
// clipboard wants it, whichever tab is in front.
func (p *Page) Permit(name string, setting cdpbrowser.PermissionSetting) error {
	err := call(p, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: name, AllowWithoutSanitization: false}, Setting: setting,
	})
	if err != nil {
		return fmt.Errorf("set the permission %s: %w", name, err)
	}
	if err := call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		return fmt.Errorf("focus the page: %w", err)
	}
	return nil
}

// Granted is an artist's answer to a permission's question.
const Granted = cdpbrowser.PermissionSettingGranted
