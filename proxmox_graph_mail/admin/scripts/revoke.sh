# Azure CLI, best in Cloud Shell (https://shell.azure.com, Bash): take the tenant-wide Mail.Send from the app: its consent, and the
# request for it on the registration. Run it when `Test-ServicePrincipalAuthorization` shows the mailbox in scope (entra rbac):
# rights add up, and with this one the app could still send as anybody.
set -eu
CLIENT='@client@'
CLOUD='@azure@'
GRAPH_URL='@graph@'
GRAPH=00000003-0000-0000-c000-000000000000          # Microsoft Graph
MAIL_SEND=b633e1c5-b582-4048-a93e-9f11b44c7e96      # its application permission Mail.Send

[ "$CLOUD" = AzureCloud ] || az cloud set --name "$CLOUD"
az account show >/dev/null 2>&1 || az login --allow-no-subscriptions >/dev/null
SP=$(az ad sp show --id "$CLIENT" --query id -o tsv)
ASSIGNMENTS=$GRAPH_URL/v1.0/servicePrincipals/$SP/appRoleAssignments
for ID in $(az rest --method GET --uri "$ASSIGNMENTS" --resource "$GRAPH_URL" --query "value[?appRoleId=='$MAIL_SEND'].id" -o tsv); do
    az rest --method DELETE --uri "$ASSIGNMENTS/$ID" --resource "$GRAPH_URL"
    echo "The consent to Mail.Send is gone."
done
az ad app permission delete --id "$CLIENT" --api "$GRAPH" --api-permissions "$MAIL_SEND" 2>/dev/null || true
echo "The app's tenant-wide permissions that are left:"
az rest --method GET --uri "$ASSIGNMENTS" --resource "$GRAPH_URL" --query 'value[].{permission: appRoleId, of: resourceDisplayName}' -o table
